/* The only program of an image without shell and Python:
     app say WORD...        print the words
     app copy FROM TO       copy a file, or the words' file to stdout if TO is "-"
     app write PATH TEXT    write a text into a file, with the folders above it
     app env NAME           print a variable
     app sleep SECONDS
     app exit STATUS        several commands are separated by a "+"
*/
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void folders(const char *path) {
    char above[4096];
    snprintf(above, sizeof above, "%s", path);
    for (char *at = above + 1; *at; at++)
        if (*at == '/') { *at = 0; mkdir(above, 0777); *at = '/'; }
}

static int failed(const char *what) { fprintf(stderr, "app: %s: %s\n", what, strerror(errno)); return 1; }

static int copy(const char *from, const char *to) {
    FILE *in = fopen(from, "rb");
    if (!in) return failed(from);
    if (strcmp(to, "-")) folders(to);
    FILE *out = strcmp(to, "-") ? fopen(to, "wb") : stdout;
    if (!out) return failed(to);
    char piece[65536];
    size_t size;
    while ((size = fread(piece, 1, sizeof piece, in)) > 0) fwrite(piece, 1, size, out);
    if (fflush(out)) return failed(to);
    return 0;
}

static int run(int count, char **words) {
    const char *verb = count ? words[0] : "";
    if (!strcmp(verb, "say")) {
        for (int i = 1; i < count; i++) printf("%s%s", words[i], i + 1 < count ? " " : "");
        printf("\n");
        return 0;
    }
    if (!strcmp(verb, "copy") && count == 3) return copy(words[1], words[2]);
    if (!strcmp(verb, "write") && count == 3) {
        folders(words[1]);
        FILE *out = fopen(words[1], "wb");
        if (!out || fputs(words[2], out) < 0 || fclose(out)) return failed(words[1]);
        return 0;
    }
    if (!strcmp(verb, "env") && count == 2) { const char *v = getenv(words[1]); printf("%s\n", v ? v : ""); return 0; }
    if (!strcmp(verb, "sleep") && count == 2) { fflush(stdout); sleep((unsigned)atoi(words[1])); return 0; }
    if (!strcmp(verb, "exit") && count == 2) exit(atoi(words[1]));
    fprintf(stderr, "app: %s is not known\n", verb);
    return 2;
}

int main(int count, char **words) {
    int status = 0;
    for (int at = 1; at < count && !status;) {
        int end = at;
        while (end < count && strcmp(words[end], "+")) end++;
        status = run(end - at, words + at);
        at = end + 1;
    }
    return status;
}
