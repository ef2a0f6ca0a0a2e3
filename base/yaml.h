/* YAML (libyaml) as a tree of nodes that know their line, for configurations. Values stay text until somebody
 * says what they are to be, so that 1e-5 is a number where a number is wanted.
 *
 * What configurations do not need is refused with a clear word: anchors, aliases, tags, several documents,
 * keys that are no scalars, the same key twice in a map, NUL characters. Depth and size are bounded.
 */
#ifndef VS2_BASE_YAML_H
#define VS2_BASE_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum {
    YAML_LARGEST_FILE = 256 << 10, /* bytes */
    YAML_DEEPEST = 16,             /* maps and lists inside each other */
    YAML_MOST_NODES = 10000,
};

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_node {
    enum yaml_kind kind;
    char *key;    /* in a map: the node's key, else NULL */
    char *text;   /* of a scalar, else NULL */
    bool plain;   /* a scalar written without quotes, so that it may be null */
    int64_t line; /* where the key stands, or the node itself; from 1, 0 where lines do not count */
    struct yaml_node *first; /* of a list or a map, in the order of the file; NULL: empty */
    struct yaml_node *next;  /* in the list or map that this node belongs to */
};

/* Reads a file; an empty one is an empty map. Errors are "FILE:LINE: CAUSE" with STATUS_USAGE (STATUS_FAILED:
 * the file cannot be read at all). yaml_tree_free ends the tree. */
enum status yaml_read_file(const char *path, struct yaml_node **root, struct error *err);

/* The same for text on one line (a word of a command line): errors are "PLACE: CAUSE". Empty text is null.
 * Text that begins with '@', which YAML keeps for itself, is taken as it is: @FILE. */
enum status yaml_read_word(const char *text, const char *place, struct yaml_node **root, struct error *err);

void yaml_tree_free(struct yaml_node *root);

/* Scalars as YAML 1.1 and its readers in Python understand them. Each function says whether the node is one,
 * and stores it. Quotes do not matter but for null: "5" is a whole number, too.
 *   null      empty, null, ~, or Python's None
 *   bool      true false yes no on off, in lower, upper or title case
 *   integer   decimal with a sign and underscores between digits; also a number such as 1e6 that is whole
 *   number    decimal, finite, with underscores between digits: 5, .5, 1e-5, 5.0e-5 */
bool yaml_is_null(const struct yaml_node *node);
bool yaml_to_bool(const struct yaml_node *node, bool *value);
bool yaml_to_integer(const struct yaml_node *node, int64_t *value);
bool yaml_to_number(const struct yaml_node *node, double *value);

#endif
