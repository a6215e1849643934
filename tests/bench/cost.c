/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a client costs a spice-server: instructions for a message, which
 * callgrind counts in measured(), and bytes of memory.
 *
 *     cost MODE MESSAGES CLIENTS       MODE: power off, or on
 *
 * Everything is in this one thread, both ends of the sockets and a main loop
 * without a clock, so that two runs do exactly the same. It uses nothing that
 * a spice-server without power control does not have, unless it is told to.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <spice.h>
#include <spice/enums.h>
#include <spice/protocol.h>

#define SLOTS 1000

static void check(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "cost: %s\n", what);
        exit(1);
    }
}

/* --- a main loop -------------------------------------------------------- */

struct SpiceWatch {
    int fd, mask;
    SpiceWatchFunc func;
    void *opaque;
};

struct SpiceTimer {
    bool due;
    SpiceTimerFunc func;
    void *opaque;
};

static SpiceWatch *watches[SLOTS];
static SpiceTimer *timers[SLOTS];

static SpiceWatch *watch_add(int fd, int mask, SpiceWatchFunc func,
                             void *opaque)
{
    for (int i = 0; i < SLOTS; i++) {
        if (!watches[i]) {
            watches[i] = malloc(sizeof(*watches[i]));
            *watches[i] = (SpiceWatch) { fd, mask, func, opaque };
            return watches[i];
        }
    }
    check(false, "too many watches");
    return NULL;
}

static void watch_update_mask(SpiceWatch *watch, int mask)
{
    watch->mask = mask;
}

static void watch_remove(SpiceWatch *watch)
{
    for (int i = 0; i < SLOTS; i++) {
        if (watches[i] == watch) {
            watches[i] = NULL;
        }
    }
    free(watch);
}

static SpiceTimer *timer_add(SpiceTimerFunc func, void *opaque)
{
    for (int i = 0; i < SLOTS; i++) {
        if (!timers[i]) {
            timers[i] = malloc(sizeof(*timers[i]));
            *timers[i] = (SpiceTimer) { false, func, opaque };
            return timers[i];
        }
    }
    check(false, "too many timers");
    return NULL;
}

/* no time passes here: what is not for now never happens */
static void timer_start(SpiceTimer *timer, uint32_t ms)
{
    timer->due = ms == 0;
}

static void timer_cancel(SpiceTimer *timer)
{
    timer->due = false;
}

static void timer_remove(SpiceTimer *timer)
{
    for (int i = 0; i < SLOTS; i++) {
        if (timers[i] == timer) {
            timers[i] = NULL;
        }
    }
    free(timer);
}

static void channel_event(int event, SpiceChannelEventInfo *info)
{
}

static SpiceCoreInterface core = {
    .base = {
        .type = SPICE_INTERFACE_CORE,
        .major_version = SPICE_INTERFACE_CORE_MAJOR,
        .minor_version = SPICE_INTERFACE_CORE_MINOR,
    },
    .timer_add = timer_add,
    .timer_start = timer_start,
    .timer_cancel = timer_cancel,
    .timer_remove = timer_remove,
    .watch_add = watch_add,
    .watch_update_mask = watch_update_mask,
    .watch_remove = watch_remove,
    .channel_event = channel_event,
};

static void happens(SpiceWatch *watch, int revents)
{
    watch->func(watch->fd, revents & POLLIN ? SPICE_WATCH_EVENT_READ :
                                              SPICE_WATCH_EVENT_WRITE,
                watch->opaque);
}

static bool measuring;

/* callgrind knows it by its name */
__attribute__((noinline)) void measured(SpiceWatch *watch, int revents)
{
    happens(watch, revents);
}

/* Until there is nothing left to do. */
static void run(void)
{
    bool again = true;

    while (again) {
        again = false;
        for (int i = 0; i < SLOTS; i++) {
            struct pollfd ready;
            int mask;

            if (timers[i] && timers[i]->due) {
                timers[i]->due = false;
                timers[i]->func(timers[i]->opaque);
                again = true;
            }
            if (!watches[i]) {
                continue;
            }
            mask = watches[i]->mask;
            ready = (struct pollfd) {
                .fd = watches[i]->fd,
                .events = (mask & SPICE_WATCH_EVENT_READ ? POLLIN : 0) |
                          (mask & SPICE_WATCH_EVENT_WRITE ? POLLOUT : 0),
            };
            if (!ready.events || poll(&ready, 1, 0) <= 0) {
                continue;
            }
            again = true;
            if (measuring) {
                measured(watches[i], ready.revents);
            } else {
                happens(watches[i], ready.revents);
            }
        }
    }
}

/* --- power control, without a machine ----------------------------------- */

static void request(SpicePowerInstance *sin, SpicePowerRequest *request)
{
    check(false, "nobody has asked for this");
}

static const SpicePowerInterface power_interface = {
    .base.type = SPICE_INTERFACE_POWER,
    .base.major_version = SPICE_INTERFACE_POWER_MAJOR,
    .base.minor_version = SPICE_INTERFACE_POWER_MINOR,
    .request = request,
};

static SpicePowerInstance power = {
    .base.sif = &power_interface.base,
    .actions = SPICE_POWER_ACTION_MASK,
};

static void power_on(SpiceServer *server)
{
    void (*set_state)(SpicePowerInstance *, uint32_t, uint32_t);

    set_state = dlsym(RTLD_DEFAULT, "spice_server_power_set_state");
    check(set_state, "this library has no power control");
    check(spice_server_add_interface(server, &power.base) == 0, "no power");
    set_state(&power, SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
}

/* --- clients -------------------------------------------------------------- */

static unsigned char buffer[65536];
static size_t filled;

static void get(int fd)
{
    ssize_t size;

    run();
    while ((size = read(fd, buffer + filled, sizeof(buffer) - filled)) > 0) {
        filled += size;
    }
    check(filled < sizeof(buffer), "too much to read");
}

static void put(int fd, const void *data, size_t size)
{
    check(write(fd, data, size) == (ssize_t)size, "the server does not read");
}

/* Take all messages; returns how many of the type there were. */
static int take(int fd, uint16_t type)
{
    size_t place = 0;
    int count = 0;

    get(fd);
    while (place + sizeof(SpiceMiniDataHeader) <= filled) {
        SpiceMiniDataHeader header;

        memcpy(&header, buffer + place, sizeof(header));
        place += sizeof(header) + header.size;
        count += header.type == type;
    }
    check(place == filled, "half of a message");
    filled = 0;
    return count;
}

static void put_ticket(int fd, const uint8_t *key)
{
    EVP_PKEY *pkey = d2i_PUBKEY(NULL, &key, SPICE_TICKET_PUBKEY_BYTES);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pkey, NULL);
    unsigned char ticket[128];
    size_t size = sizeof(ticket);

    check(ctx && EVP_PKEY_encrypt_init(ctx) > 0 &&
          EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) > 0 &&
          EVP_PKEY_encrypt(ctx, ticket, &size,
                           (const unsigned char *)"", 1) > 0, "no ticket");
    put(fd, ticket, size);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(pkey);
}

static int link_client(SpiceServer *server)
{
    struct {
        SpiceLinkHeader header;
        SpiceLinkMess mess;
        uint32_t caps[2];
    } __attribute__((packed)) hello = {
        .header = { SPICE_MAGIC, SPICE_VERSION_MAJOR, SPICE_VERSION_MINOR,
                    sizeof(hello) - sizeof(SpiceLinkHeader) },
        .mess = { .channel_type = SPICE_CHANNEL_MAIN, .num_common_caps = 1,
                  .num_channel_caps = 1,
                  .caps_offset = sizeof(SpiceLinkMess) },
        .caps = { 1 << SPICE_COMMON_CAP_PROTOCOL_AUTH_SELECTION |
                  1 << SPICE_COMMON_CAP_AUTH_SPICE |
                  1 << SPICE_COMMON_CAP_MINI_HEADER,
                  1 << SPICE_MAIN_CAP_POWER_CONTROL },
    };
    const uint32_t mechanism = SPICE_COMMON_CAP_AUTH_SPICE;
    SpiceLinkReply reply;
    int fds[2];

    check(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "no sockets");
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    check(spice_server_add_client(server, fds[0], 1) == 0, "no client");
    put(fds[1], &hello, sizeof(hello));
    get(fds[1]);
    check(filled > sizeof(SpiceLinkHeader) + sizeof(reply), "no reply");
    memcpy(&reply, buffer + sizeof(SpiceLinkHeader), sizeof(reply));
    check(reply.error == SPICE_LINK_ERR_OK, "the server refuses");
    filled = 0;
    put(fds[1], &mechanism, sizeof(mechanism));
    put_ticket(fds[1], reply.pub_key);
    get(fds[1]);
    check(filled >= 4 && !memcmp(buffer, "\0\0\0\0", 4), "not let in");
    filled -= 4;
    memmove(buffer, buffer + 4, filled);
    return fds[1];
}

/*
 * A message in each direction: a client wants to know the channels. What is
 * counted is all that this makes the server do.
 */
static int ask(int fd, int number)
{
    static const SpiceMiniDataHeader header = {
        .type = SPICE_MSGC_MAIN_ATTACH_CHANNELS,
    };
    int count = 0;

    while (number--) {
        put(fd, &header, sizeof(header));
        count += take(fd, SPICE_MSG_MAIN_CHANNELS_LIST);
    }
    return count;
}

int main(int argc, char **argv)
{
    SpiceServer *server = spice_server_new();
    size_t before;
    int fd, number, clients;

    check(argc == 4, "usage: cost off|on MESSAGES CLIENTS");
    number = atoi(argv[2]);
    clients = atoi(argv[3]);
    setenv("SPICE_DEBUG_ALLOW_MC", "1", 1);
    spice_server_set_noauth(server);
    check(spice_server_init(server, &core) == 0, "no server");
    if (!strcmp(argv[1], "on")) {
        power_on(server);
    }

    fd = link_client(server);
    check(take(fd, SPICE_MSG_MAIN_INIT) == 1, "no INIT");
    ask(fd, 10);                        /* the first ones allocate what is kept */
    measuring = true;
    check(ask(fd, number) == number, "not all were answered");
    measuring = false;

    before = mallinfo2().uordblks;
    for (int i = 0; i < clients; i++) {
        fd = link_client(server);
        take(fd, 0);
    }
    if (clients) {
        printf("%zu\n", (mallinfo2().uordblks - before) / clients);
    }
    return 0;
}
