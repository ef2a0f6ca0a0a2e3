/* Fibers: on x86-64 by hand, elsewhere through ucontext (which asks the kernel at every switch). */
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/emulator/machine.h"

/* Stacks that begin at the same place of their pages would share a few lines of the processor's cache. */
enum { STACK_BYTES = 128 << 10, LINE_BYTES = 64, PAGE_LINES = 64 };

#if defined(__x86_64__)

struct fiber {
    void *stack; /* its pointer while it waits */
};

/* Keeps the registers that a function keeps on the stack, stores its pointer in *from and goes on at `to`. It
 * jumps back, as where a return leads is foreseen from calls that were not made here. */
void emulator_switch(void **from, void *to);
__asm__(".text\n"
        ".globl emulator_switch\n"
        ".hidden emulator_switch\n"
        ".type emulator_switch, @function\n"
        "emulator_switch:\n"
        "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
        "  movq %rsp, (%rdi)\n"
        "  movq %rsi, %rsp\n"
        "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
        "  popq %rcx\n  jmpq *%rcx\n"
        ".size emulator_switch, . - emulator_switch\n");

static void fiber_prepare(struct fiber *fiber, char *stack, size_t bytes, void (*run)(void)) {
    void **top = (void **)(void *)(stack + bytes);
    *--top = NULL;                      /* what `run` would return to; aligns the stack as a call does */
    *--top = __extension__(void *) run; /* what the first switch returns to */
    for (int i = 0; i < 6; i++) *--top = NULL; /* its registers */
    fiber->stack = top;
}

void fiber_switch(struct fiber *from, struct fiber *to) {
    emulator_switch(&from->stack, to->stack);
}

#else

#include <ucontext.h>

struct fiber {
    ucontext_t context;
};

static void fiber_prepare(struct fiber *fiber, char *stack, size_t bytes, void (*run)(void)) {
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = stack;
    fiber->context.uc_stack.ss_size = bytes;
    makecontext(&fiber->context, run, 0);
}

void fiber_switch(struct fiber *from, struct fiber *to) {
    swapcontext(&from->context, &to->context);
}

#endif

struct fiber *fiber_new(void (*run)(void)) {
    static unsigned made;
    struct fiber *fiber = calloc(1, sizeof *fiber);
    if (!fiber) machine_die("no memory for a thread");
    if (!run) return fiber;
    char *stack =
        mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) machine_die("no memory for a thread's stack");
    fiber_prepare(fiber, stack, STACK_BYTES - (size_t)(made++ % PAGE_LINES) * LINE_BYTES, run);
    return fiber;
}
