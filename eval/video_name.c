#include "eval/video_name.h"

#include <string.h>
#include <strings.h>

static const char *const endings[] = {".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v", ".gif"};

struct name_part video_stem(const char *name) {
    const char *slash = strrchr(name, '/');
    const char *start = slash ? slash + 1 : name;
    size_t length = strlen(start);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t ending = strlen(endings[i]);
        if (length > ending && strcasecmp(start + length - ending, endings[i]) == 0)
            return (struct name_part){start, length - ending};
    }
    return (struct name_part){start, length};
}

int name_part_compare(struct name_part a, struct name_part b) {
    int order = memcmp(a.start, b.start, a.length < b.length ? a.length : b.length);
    return order ? order : (a.length > b.length) - (a.length < b.length);
}
