#include "tensor/cpu/cpu.h"

void cpu_attention_forward(struct device *device, struct tensor out, struct tensor log_sum, struct tensor q,
                           struct tensor k, struct tensor v, struct attention_segments segments, int heads,
                           int kv_heads, float scale) {
    (void)out, (void)log_sum, (void)q, (void)k, (void)v, (void)segments, (void)heads, (void)kv_heads;
    (void)scale;
    device_fail(device, "attention_forward is not there yet");
}
