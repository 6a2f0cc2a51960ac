/* Answers HTTP requests by a table, at once: one thread, one epoll. See stub.py, which writes the
 * table and has the same in Python.
 *
 * Prints two ports. Then reads rules from standard input, each a line and the bytes of its answer,
 *     METHOD PATH BODY DELAY ARMS LATE LENGTH\n<answer>
 * where PATH and BODY are what the request must contain ("-": anything), DELAY is in ms, and ARMS
 * and LATE are 0 or 1; the METHOD "go" ends them. The first rule that fits answers. One that ARMS makes it
 * "late" for 50 ms: rules with LATE hold only then, and nobody listens at the second port.
 * Ends when standard input does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_RULES = 64, MAX_FD = 4096, MAX_REQUEST = 1 << 16, LATE_MS = 50 };

struct rule {
    char method[16], path[128], body[128];
    int delay, arms, late;
    size_t length;
    char *answer;
};
struct later { /* an answer that waits; `serial` tells whether the connection is still the same */
    double due;
    int fd;
    unsigned serial;
    const struct rule *rule;
};

static struct rule rules[MAX_RULES];
static int rule_count, poller, gate = -1;
static struct sockaddr_in gate_address;
static double late_until, gate_opens; /* 0: it is open */
static struct {
    char *data;
    size_t used;
    unsigned serial;
} held[MAX_FD];
static struct later queue[MAX_FD]; /* a ring; delays are all alike, so it is in order */
static unsigned first, last;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static int bound(struct sockaddr_in *address) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    socklen_t size = sizeof *address;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (void *)address, size) || getsockname(fd, (void *)address, &size)) {
        perror("stub");
        exit(1);
    }
    return fd;
}

static void watch(int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

static void listen_at(int fd) {
    listen(fd, 1024);
    watch(fd);
}

static void leave(int fd) {
    held[fd].used = 0;
    held[fd].serial++;
    close(fd);
}

static void say(int fd, const struct rule *rule) {
    for (size_t sent = 0; sent < rule->length;) {
        ssize_t n = send(fd, rule->answer + sent, rule->length - sent, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        sent += n;
    }
}

static void arm(void) {
    late_until = gate_opens = now() + LATE_MS;
    close(gate);
    gate = bound(&gate_address);
}

static int has(const char *text, size_t length, const char *needle) {
    return !strcmp(needle, "-") || memmem(text, length, needle, strlen(needle));
}

static void answer(int fd, const char *head, size_t line, const char *body, size_t size) {
    for (int i = 0; i < rule_count; i++) {
        const struct rule *r = &rules[i];
        if (strcmp(r->method, "-") && strncmp(head, r->method, strlen(r->method)))
            continue;
        if (!has(head, line, r->path) || !has(body, size, r->body))
            continue;
        if (r->late && now() >= late_until)
            continue;
        if (r->arms)
            arm();
        if (r->delay)
            queue[last++ % MAX_FD] = (struct later){now() + r->delay, fd, held[fd].serial, r};
        else
            say(fd, r);
        return;
    }
}

static void hear(int fd) {
    if (!held[fd].data)
        held[fd].data = malloc(MAX_REQUEST + 1);
    char *data = held[fd].data;
    ssize_t n = recv(fd, data + held[fd].used, MAX_REQUEST - held[fd].used, 0);
    if (n <= 0) {
        leave(fd);
        return;
    }
    held[fd].used += n;
    data[held[fd].used] = 0;
    for (char *end; (end = memmem(data, held[fd].used, "\r\n\r\n", 4));) {
        size_t head = end + 4 - data, size = 0;
        char *length = strcasestr(data, "\r\ncontent-length:");
        if (length && length < end)
            size = strtoul(length + 17, NULL, 10);
        if (held[fd].used < head + size)
            return;
        answer(fd, data, strcspn(data, "\r"), data + head, size);
        held[fd].used -= head + size;
        memmove(data, data + head + size, held[fd].used);
        data[held[fd].used] = 0;
    }
}

static void welcome(int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FD) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(fd);
    }
}

/* Do what has come due; return the ms until something else does, or -1. */
static int catch_up(void) {
    double t = now(), next = -1;
    for (; first != last && queue[first % MAX_FD].due <= t; first++) {
        struct later *l = &queue[first % MAX_FD];
        if (l->serial == held[l->fd].serial)
            say(l->fd, l->rule);
    }
    if (first != last)
        next = queue[first % MAX_FD].due;
    if (gate_opens && gate_opens <= t) {
        gate_opens = 0;
        listen_at(gate);
    } else if (gate_opens && (next < 0 || gate_opens < next))
        next = gate_opens;
    return next < 0 ? -1 : (int)(next - t) + 1;
}

static void read_rules(void) {
    while (rule_count < MAX_RULES) {
        struct rule *r = &rules[rule_count++];
        if (scanf("%15s %127s %127s %d %d %d %zu", r->method, r->path, r->body, &r->delay, &r->arms,
                  &r->late, &r->length) != 7 || getchar() != '\n')
            exit(1);
        if (!strcmp(r->method, "go")) {
            rule_count--;
            return;
        }
        r->answer = malloc(r->length);
        if (fread(r->answer, 1, r->length, stdin) != r->length)
            exit(1);
    }
}

int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    gate_address = address;
    int door = bound(&address);
    gate = bound(&gate_address);
    poller = epoll_create1(0);
    printf("%d %d\n", ntohs(address.sin_port), ntohs(gate_address.sin_port));
    fflush(stdout);
    setvbuf(stdin, NULL, _IONBF, 0);
    read_rules();
    watch(STDIN_FILENO);
    listen_at(door);
    for (struct epoll_event events[256];;) {
        int count = epoll_wait(poller, events, 256, catch_up());
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == STDIN_FILENO)
                return 0;
            if (fd == door || fd == gate)
                welcome(fd);
            else
                hear(fd);
        }
    }
}
