// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Fuzz the server's main channel, alive: a spice-server with a power interface,
 * and clients that link over socket pairs and send what the input says. The
 * other side of the interface, which QEMU is otherwise, does what the input
 * says too: it completes requests at once, later or never, reports states,
 * removes the interface, migrates, changes who may do what.
 *
 * Everything runs in one thread; the main loop is here, its time passes when
 * the input says so, and it runs until it has nothing left to do.
 *
 * With LINK_ONLY the clients send what the input says in place of linking.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/sockios.h>

#include <algorithm>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <glib.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <sanitizer/allocator_interface.h>
#include <sanitizer/lsan_interface.h>
#include <spice.h>
#include <spice/protocol.h>

#include "input.h"

/* A key for each link takes longer than everything else here: there is one. */
extern "C" EVP_PKEY *EVP_PKEY_Q_keygen(OSSL_LIB_CTX *, const char *, const char *, ...)
{
    static EVP_PKEY *key;

    if (!key) {
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_RSA, nullptr);

        CHECK(EVP_PKEY_keygen_init(ctx) > 0);
        CHECK(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, SPICE_TICKET_KEY_PAIR_LENGTH) > 0);
        CHECK(EVP_PKEY_keygen(ctx, &key) > 0);
        EVP_PKEY_CTX_free(ctx);
    }
    EVP_PKEY_up_ref(key);
    return key;
}

/* --- the main loop -------------------------------------------------------- */

struct SpiceTimer {
    SpiceTimerFunc func;
    void *opaque;
    bool active;
    uint64_t due;
};

struct SpiceWatch {
    int fd;
    int mask;
    SpiceWatchFunc func;
    void *opaque;
    bool removed;
};

static std::list<SpiceTimer *> timers;
static std::list<SpiceWatch *> watches;
static uint64_t now;
static bool in_watch;

static SpiceTimer *timer_add(SpiceTimerFunc func, void *opaque)
{
    timers.push_back(new SpiceTimer{func, opaque, false, 0});
    return timers.back();
}

static void timer_start(SpiceTimer *timer, uint32_t ms)
{
    timer->active = true;
    timer->due = now + ms;
}

static void timer_cancel(SpiceTimer *timer)
{
    timer->active = false;
}

static void timer_remove(SpiceTimer *timer)
{
    timers.remove(timer);
    delete timer;
}

static SpiceWatch *watch_add(int fd, int mask, SpiceWatchFunc func, void *opaque)
{
    watches.push_back(new SpiceWatch{fd, mask, func, opaque, false});
    return watches.back();
}

static void watch_update_mask(SpiceWatch *watch, int mask)
{
    watch->mask = mask;
}

static void watch_remove(SpiceWatch *watch)
{
    watch->removed = true;
}

static void channel_event(int, SpiceChannelEventInfo *)
{
}

static SpiceCoreInterface core;

static bool run_timers()
{
    SpiceTimer *first = nullptr;

    for (auto timer: timers) {
        if (timer->active && timer->due <= now && (!first || timer->due < first->due)) {
            first = timer;
        }
    }
    if (!first) {
        return false;
    }
    first->active = false;
    first->func(first->opaque);
    return true;
}

static bool run_watches()
{
    std::vector<SpiceWatch *> polled;
    std::vector<pollfd> fds;
    bool any = false;

    for (auto it = watches.begin(); it != watches.end();) {
        SpiceWatch *watch = *it;

        if (watch->removed) {
            delete watch;
            it = watches.erase(it);
            continue;
        }
        ++it;
        if (watch->mask) {
            short events = 0;

            if (watch->mask & SPICE_WATCH_EVENT_READ) {
                events |= POLLIN;
            }
            if (watch->mask & SPICE_WATCH_EVENT_WRITE) {
                events |= POLLOUT;
            }
            polled.push_back(watch);
            fds.push_back({watch->fd, events, 0});
        }
    }
    if (poll(fds.data(), fds.size(), 0) <= 0) {
        return false;
    }
    for (size_t i = 0; i < fds.size(); i++) {
        int events = 0;

        if (fds[i].revents & (POLLIN | POLLHUP | POLLERR)) {
            events |= SPICE_WATCH_EVENT_READ;
        }
        if (fds[i].revents & (POLLOUT | POLLERR)) {
            events |= SPICE_WATCH_EVENT_WRITE;
        }
        events &= polled[i]->mask;
        if (events && !polled[i]->removed) {
            any = true;
            in_watch = true;
            polled[i]->func(polled[i]->fd, events, polled[i]->opaque);
            in_watch = false;
        }
    }
    return any;
}

/* Run until nothing is left to do. */
static void pump()
{
    for (unsigned int n = 0; run_timers() || run_watches(); n++) {
        CHECK(n < 100000);
    }
}

/* --- the power interface, and what there is beside it --------------------- */

static const uint32_t messages_of_actions[] = {
    SPICE_MSGC_MAIN_POWER_RESET, SPICE_MSGC_MAIN_POWER_OFF, SPICE_MSGC_MAIN_POWER_ON,
    SPICE_MSGC_MAIN_POWER_PAUSE, SPICE_MSGC_MAIN_POWER_CONTINUE,
};

static const uint32_t caps_of_actions[] = {
    SPICE_MAIN_CAP_POWER_RESET, SPICE_MAIN_CAP_POWER_OFF, SPICE_MAIN_CAP_POWER_ON,
    SPICE_MAIN_CAP_POWER_PAUSE, SPICE_MAIN_CAP_POWER_CONTINUE,
};

struct State {
    uint32_t state;
    uint32_t actions;
};

static SpiceServer *server;
static SpicePowerInstance power;
static SpiceMigrateInstance migrate;
static SpiceCharDeviceInstance agent;
static bool power_added;
static bool power_removed;
static bool migrate_added;
static bool migrated;
/* the request to complete, the one that the interface has */
static SpicePowerRequest *current;
/* those whose result was sent already because the interface was removed */
static std::vector<SpicePowerRequest *> orphans;
static unsigned int n_requests;
/* the interface was told that nobody waits for the current request */
static bool told_cancelled;
/* every state there was */
static std::vector<State> states;

static struct {
    unsigned int what;
    uint32_t result;
    unsigned int message;
} on_request;

static unsigned int on_refused;
static unsigned int on_cancelled;

/* what those with each ticket may ask for, and what each client may as far as the
 * library knows, by its connection id */
static uint32_t allow[SPICE_TICKET_POWER + 1];
static std::map<int, uint32_t> last_allowed;

static void set_state(uint32_t state, uint32_t actions)
{
    if (power_added) {
        spice_server_power_set_state(&power, state, actions);
        states.push_back({state, actions & power.actions});
    }
}

static const char *message_of(unsigned int choice)
{
    static std::string message;

    switch (choice % 8) {
    case 0:
        return nullptr;
    case 1:
        return "";
    case 2:
        return "no";
    case 3:
        return "\xc3\x28 \xff\xe2\x82";          // not UTF-8
    case 4:
        message.assign(1024, 'x');
        break;
    case 5:
        message.assign(1023, 'x');
        message += "\xc3\xa9";                   // over the end
        break;
    case 6:
        message.assign(choice * 16, '\xff');
        break;
    default:
        message.assign(1022, 'x');
        message += "\xf0\x9f\x98\x80";
    }
    return message.c_str();
}

static void complete_one(SpicePowerRequest *request, uint32_t result, unsigned int message);
static void remove_power();
static void disconnect_client(unsigned int n);
static void disconnect_everybody();
static void set_ticket(unsigned int how, unsigned int password);
static void check_client(const SpicePowerClient *client);

static void power_request(SpicePowerInstance *sin, SpicePowerRequest *request)
{
    uint32_t action = request->action;

    CHECK(sin == &power && power_added);
    // one at a time, and not while messages are handled
    CHECK(!current);
    CHECK(!in_watch);
    // exactly one action, which is configured
    CHECK(action && !(action & (action - 1)) && (action & power.actions));
    check_client(request->client);
    // and allowed
    CHECK(action & last_allowed[request->client->channel->connection_id]);
    current = request;
    told_cancelled = false;
    n_requests++;

    switch (on_request.what % 8) {
    case 1:
        set_state(SPICE_POWER_STATE_PAUSED, n_requests);
        /* fall through */
    case 2:
        current = nullptr;
        complete_one(request, on_request.result, on_request.message);
        break;
    case 3:
        remove_power();
        break;
    case 4:
        disconnect_everybody();
        break;
    case 5:
        disconnect_client(on_request.message);
        current = nullptr;
        complete_one(request, on_request.result, on_request.message);
        break;
    case 6:
        set_ticket(on_request.message, on_request.result);
        break;
    case 7:
        allow[on_request.message % G_N_ELEMENTS(allow)] = on_request.result;
        spice_server_power_update_allowed(&power);
        break;
    default:
        break;
    }
}

static void result_given(const SpicePowerRequest *request, uint32_t result);

static void power_refused(SpicePowerInstance *sin, const SpicePowerRequest *request,
                          uint32_t result, const char *message)
{
    CHECK(sin == &power);
    CHECK(result == SPICE_POWER_RESULT_DENIED || result == SPICE_POWER_RESULT_BUSY ||
          result == SPICE_POWER_RESULT_FAILED);
    check_client(request->client);
    CHECK(message && *message);
    CHECK(!in_watch);
    result_given(request, result);

    switch (on_refused % 5) {
    case 1:
        remove_power();
        break;
    case 2:
        disconnect_everybody();
        break;
    case 3:
        set_ticket(on_refused >> 3, 0);
        break;
    case 4:
        if (power_added) {
            spice_server_power_update_allowed(&power);
        }
        break;
    }
    // still there
    CHECK(*message);
}

static void complete(uint32_t result, unsigned int choice);

static void power_cancelled(SpicePowerInstance *sin, SpicePowerRequest *request)
{
    CHECK(sin == &power && request == current);
    CHECK(!in_watch);
    check_client(request->client);
    CHECK(!told_cancelled);
    told_cancelled = true;

    switch (on_cancelled % 4) {
    case 1:
        complete(on_cancelled >> 2, 0);
        break;
    case 2:
        remove_power();
        break;
    case 3:
        set_ticket(on_cancelled >> 2, 0);
        break;
    }
}

static uint32_t power_allowed(SpicePowerInstance *sin, const SpicePowerClient *client,
                              const char **reason)
{
    static const char *const reasons[] = {nullptr, "", "not you", "\xff\xc3"};

    CHECK(sin == &power);
    check_client(client);
    CHECK(*reason == nullptr);
    const uint32_t actions = allow[client->ticket];
    *reason = reasons[actions >> 6 & 3];
    return last_allowed[client->channel->connection_id] = actions;
}

static SpicePowerInterface power_interface;

static void migrate_done(SpiceMigrateInstance *)
{
}

static SpiceMigrateInterface migrate_interface;

static void agent_state(SpiceCharDeviceInstance *, int)
{
}

static int agent_write(SpiceCharDeviceInstance *, const uint8_t *, int len)
{
    return len;
}

// what the guest's agent has written and the server has not read
static std::vector<uint8_t> agent_output;

static int agent_read(SpiceCharDeviceInstance *, uint8_t *buf, int len)
{
    size_t size = std::min<size_t>(len, agent_output.size());

    std::copy_n(agent_output.begin(), size, buf);
    agent_output.erase(agent_output.begin(), agent_output.begin() + size);
    return size;
}

static SpiceCharDeviceInterface agent_interface;

static void add_power(uint32_t actions)
{
    if (power_added) {
        return;
    }
    power.actions = actions & SPICE_POWER_ACTION_MASK;
    CHECK(spice_server_add_interface(server, &power.base) == 0);
    power_added = true;
}

static void remove_power()
{
    if (!power_added) {
        return;
    }
    if (current) {
        orphans.push_back(current);
        current = nullptr;
    }
    power_added = false;
    power_removed = true;
    CHECK(spice_server_remove_interface(&power.base) == 0);
    states.push_back({SPICE_POWER_STATE_UNKNOWN, 0});
}

/* --- clients -------------------------------------------------------------- */

#include <spice/start-packed.h>
struct SPICE_ATTR_PACKED LinkMessage {
    SpiceLinkHeader header;
    SpiceLinkMess mess;
    uint32_t common_caps;
    uint32_t caps;
};

struct SPICE_ATTR_PACKED LinkReply {
    SpiceLinkHeader header;
    SpiceLinkReply reply;
    uint32_t common_caps;
    uint32_t caps;
};
#include <spice/end-packed.h>

struct Client {
    int fd;
    bool full_header;
    bool knows_power;
    // the server closed the connection
    bool eof = false;
    // actions that the server advertised
    uint32_t advertised = 0;
    uint32_t session = 0;
    std::vector<uint8_t> in;
    // sent, but not a whole message yet
    std::vector<uint8_t> out;
    // of the message for the agent, what was not sent yet
    std::vector<uint8_t> agent_rest;
    // one that the server has taken for a control client
    bool control = false;
    // its ticket, SPICE_TICKET_
    uint32_t ticket = SPICE_TICKET_NONE;
    // the capabilities of the server, as it was told
    uint32_t caps = 0;
    const char *password;
    bool skip_auth;
    // there was a reason for the server to disconnect it
    bool excused = false;
    // or to let another control client have its place
    bool may_be_replaced = false;
    // it was told that it's going to be disconnected
    bool told = false;
    unsigned int n_sent = 0;
    // how often a request with this id waits for a result
    std::map<uint32_t, int> waiting;
    // which state there was when a request with this id was completed
    std::multimap<uint32_t, size_t> completed;
    bool state_received = false;
    State state;
    uint32_t allowed = 0;

    ~Client()
    {
        close(fd);
    }
};

/* In the first group are viewers, and who connects like one; in the others control
 * clients. Steps are for those of one group until the input says otherwise. */
#define GROUP_SIZE 3
static std::unique_ptr<Client> clients[3 * GROUP_SIZE];
static unsigned int group;
/* those who have linked, and were not authenticated yet */
static std::unique_ptr<Client> half_linked[2];
/* what the connection to another channel is, or -1 */
static int other_channel = -1;
/* grows whenever what a link meets might have changed */
static unsigned int changes;
static unsigned int max_control;

static struct {
    std::string password;
    bool expired;
} tickets[SPICE_TICKET_POWER + 1];
static bool ticketing;

static const char *const passwords[] = {"", "secret", "power", "wrong"};

static std::unique_ptr<Client> &slot(unsigned int n)
{
    return clients[group * GROUP_SIZE + n % GROUP_SIZE];
}

/* Whether the server has closed the connection: one end that the client closed is not all
 * of it. */
static bool has_gone(const Client *client)
{
    pollfd fd = {client->fd, 0, 0};

    return poll(&fd, 1, 0) > 0;
}

enum Who { VIEWERS = 1, CONTROL_CLIENTS = 2, EVERYBODY = 3 };

/* From now on the server may disconnect these. */
static void excuse(Who who)
{
    for (auto &client: clients) {
        if (client && (who & (client->control ? CONTROL_CLIENTS : VIEWERS))) {
            client->excused = true;
        }
    }
}

/* Whether a control client could have something carried out, as far as the server is
 * concerned; not for sure after a migration, when it may have been told to go. */
static bool may_act(const Client *client)
{
    return client->knows_power && power_added &&
        (power.actions & client->advertised & last_allowed[client->session]) != 0;
}

/* Nobody is disconnected for what others do. */
static void check_connections()
{
    for (auto &client: clients) {
        CHECK(!client || client->excused || !has_gone(client.get()));
    }
}

/* What is said of a client is true. */
static void check_client(const SpicePowerClient *told)
{
    CHECK(told->channel->type == SPICE_CHANNEL_MAIN);
    CHECK(told->ticket <= SPICE_TICKET_POWER);
    CHECK(!told->sasl_username);
    for (auto &client: clients) {
        if (client && client->session &&
            client->session == static_cast<uint32_t>(told->channel->connection_id)) {
            CHECK(client->ticket == told->ticket);
            CHECK(client->control ==
                  !!(told->channel->flags & SPICE_CHANNEL_EVENT_FLAG_CONTROL_ONLY));
        }
    }
}

/* Set a ticket, as the bits of how say. */
static void set_ticket(unsigned int how, unsigned int choice)
{
    static const std::string too_long(SPICE_MAX_PASSWORD_LENGTH, 'x');
    const bool is_power = how & 1;
    const bool expired = how & 2;
    const bool fail = how & 4;
    const bool disconnect = how & 8;
    const char *password = how & 16 ? passwords[choice % G_N_ELEMENTS(passwords)] : nullptr;

    if (how & 32) {
        password = too_long.c_str();
    }
    // it closes the connections of those who are let in
    if (disconnect || (!is_power && !ticketing)) {
        excuse(EVERYBODY);
    }
    changes++;
    auto set = is_power ? spice_server_set_power_ticket : spice_server_set_ticket;
    int ret = set(server, password, expired ? -1000 : 0, fail, disconnect);
    if (ret != 0) {
        CHECK(ret == -1 && (fail || (how & 32)));
        return;
    }
    CHECK(!(how & 32));
    auto ticket = &tickets[is_power ? SPICE_TICKET_POWER : SPICE_TICKET_ORDINARY];
    ticket->password = password ? password : "";
    ticket->expired = expired;
    if (!is_power) {
        ticketing = true;
    }
    if (disconnect) {
        for (auto &client: clients) {
            CHECK(!client || has_gone(client.get()));
        }
    }
}

/* Which ticket it has, or -1 if it must not be let in. */
static int expected_ticket(const Client *client)
{
    auto is_valid = [=](uint32_t which) {
        return !tickets[which].password.empty() && !tickets[which].expired &&
            tickets[which].password == client->password;
    };

    if (is_valid(SPICE_TICKET_POWER)) {
        return SPICE_TICKET_POWER;
    }
    if (!ticketing || client->skip_auth) {
        return SPICE_TICKET_NONE;
    }
    return is_valid(SPICE_TICKET_ORDINARY) ? SPICE_TICKET_ORDINARY : -1;
}

static uint32_t get_u32(const uint8_t *data)
{
    uint32_t value;

    memcpy(&value, data, sizeof(value));
    return GUINT32_FROM_LE(value);
}

static uint16_t get_u16(const uint8_t *data)
{
    uint16_t value;

    memcpy(&value, data, sizeof(value));
    return GUINT16_FROM_LE(value);
}

static void receive(Client *client, size_t max)
{
    uint8_t buf[4096];

    while (max > 0 && !client->eof) {
        ssize_t len = recv(client->fd, buf, std::min(max, sizeof(buf)), MSG_DONTWAIT);

        if (len > 0) {
            client->in.insert(client->in.end(), buf, buf + len);
            max -= len;
        } else {
            client->eof = len == 0 || errno != EAGAIN;
            break;
        }
    }
}

/* Take one message out of bytes: returns its body, or nullptr. */
static const uint8_t *next_message(const std::vector<uint8_t> &bytes, size_t *pos, bool full_header,
                                   uint16_t *type, uint32_t *size)
{
    const size_t header_size =
        full_header ? sizeof(SpiceDataHeader) : sizeof(SpiceMiniDataHeader);
    const size_t type_pos = full_header ? 8 : 0;
    const size_t left = bytes.size() - *pos;

    if (left < header_size) {
        return nullptr;
    }
    *type = get_u16(&bytes[*pos + type_pos]);
    *size = get_u32(&bytes[*pos + type_pos + 2]);
    if (left - header_size < *size) {
        return nullptr;
    }
    const uint8_t *body = bytes.data() + *pos + header_size;
    *pos += header_size + *size;
    return body;
}

static void check_state(Client *client, const uint8_t *body, uint32_t size)
{
    CHECK(client->knows_power);
    CHECK(size == 9);
    uint32_t allowed = get_u32(body + 1);
    client->state = {body[0], get_u32(body + 5)};
    client->allowed = allowed;
    client->state_received = true;
    CHECK(client->state.state < SPICE_POWER_STATE_ENUM_END);
    CHECK((allowed & ~client->advertised) == 0);
    CHECK((client->state.actions & ~allowed) == 0);
}

static void check_result(Client *client, const uint8_t *body, uint32_t size)
{
    CHECK(size >= 9);
    uint32_t id = get_u32(body);

    // asked for, and not answered yet
    CHECK(client->waiting[id] > 0);
    client->waiting[id]--;
    CHECK(body[4] < SPICE_POWER_RESULT_ENUM_END);
    CHECK(get_u32(body + 5) == size - 9 && size - 9 <= 1024);
    CHECK(g_utf8_validate(reinterpret_cast<const char *>(body + 9), size - 9, nullptr));

    // the state that there was then, or a later one, came before; which result
    // the removal of the interface gave is not known here
    auto it = client->completed.find(id);
    if (it != client->completed.end() && client->knows_power && !power_removed &&
        body[4] != SPICE_POWER_RESULT_BUSY) {
        bool found = false;

        for (size_t i = it->second; i < states.size() && !found; i++) {
            found = client->state_received && states[i].state == client->state.state &&
                (states[i].actions & client->allowed) == client->state.actions;
        }
        CHECK(found);
        client->completed.erase(it);
    }
}

/* What a control client is sent, and no more. */
static void check_control_message(uint16_t type, const uint8_t *body, uint32_t size)
{
    switch (type) {
    case SPICE_MSG_MAIN_CHANNELS_LIST:
        CHECK(size == 4 && get_u32(body) == 0);
        break;
    case SPICE_MSG_MAIN_INIT: // no displays, no agent
        CHECK(size == 32 && get_u32(body + 4) == 0 && get_u32(body + 16) == 0);
        break;
    case SPICE_MSG_MAIN_MIGRATE_SWITCH_HOST: // a host and a port, and no other
        CHECK(size >= 20 && get_u16(body) == 5900 && get_u16(body + 2) == 0);
        CHECK(get_u32(body + 4) == 10 && get_u32(body + 8) <= size - 10);
        CHECK(memcmp(body + get_u32(body + 8), "localhost", 10) == 0);
        break;
    default:
        CHECK(type == SPICE_MSG_DISCONNECTING || type == SPICE_MSG_MAIN_NAME ||
              type == SPICE_MSG_MAIN_UUID || type == SPICE_MSG_MAIN_POWER_STATE ||
              type == SPICE_MSG_MAIN_POWER_RESULT);
    }
}

static void check_disconnecting(Client *client, const uint8_t *body, uint32_t size)
{
    CHECK(size == 12);
    uint32_t reason = get_u32(body + 8);

    CHECK(client->excused);
    CHECK(reason == SPICE_LINK_ERR_PERMISSION_DENIED ||
          ((!client->control || client->may_be_replaced) && reason == SPICE_LINK_ERR_REPLACED));
    client->told = true;
}

static void check_input(Client *client)
{
    size_t pos = 0;
    uint16_t type;
    uint32_t size;

    while (const uint8_t *body =
               next_message(client->in, &pos, client->full_header, &type, &size)) {
        CHECK(!client->told);
        if (client->control) {
            check_control_message(type, body, size);
        }
        if (type == SPICE_MSG_DISCONNECTING) {
            check_disconnecting(client, body, size);
        } else if (type == SPICE_MSG_MAIN_POWER_STATE) {
            check_state(client, body, size);
        } else if (type == SPICE_MSG_MAIN_POWER_RESULT) {
            check_result(client, body, size);
        }
    }
    client->in.erase(client->in.begin(), client->in.begin() + pos);
}

/* Whether a client may send this, and stays. */
static bool is_welcome(const Client *client, uint16_t type, uint32_t size)
{
    if (type >= SPICE_MSGC_MAIN_POWER_RESET && type <= SPICE_MSGC_MAIN_POWER_CONTINUE) {
        return size >= 4 && size <= 1024 &&
            (client->caps & (1u << SPICE_MAIN_CAP_POWER_CONTROL)) != 0;
    }
    return client->control && ((type == SPICE_MSGC_MAIN_ATTACH_CHANNELS && size == 0) ||
                               (type == SPICE_MSGC_PONG && size == 12));
}

/* Send bytes, and count the requests in them. */
static void send_bytes(Client *client, const void *data, size_t size)
{
    auto bytes = static_cast<const uint8_t *>(data);

    while (size > 0) {
        ssize_t len = send(client->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (len <= 0) {
            return;
        }
        client->out.insert(client->out.end(), bytes, bytes + len);
        bytes += len;
        size -= len;
    }

    size_t pos = 0;
    uint16_t type;
    uint32_t body_size;

    while (const uint8_t *body =
               next_message(client->out, &pos, client->full_header, &type, &body_size)) {
        // one that sends a lot might not be reading what it gets
        if (!is_welcome(client, type, body_size) || ++client->n_sent > 60) {
            client->excused = true;
        }
        if (type >= SPICE_MSGC_MAIN_POWER_RESET && type <= SPICE_MSGC_MAIN_POWER_CONTINUE &&
            body_size >= 4) {
            client->waiting[get_u32(body)]++;
        }
    }
    client->out.erase(client->out.begin(), client->out.begin() + pos);
    const size_t size_pos = client->full_header ? 10 : 2;
    if (client->out.size() >= size_pos + 4 && get_u32(&client->out[size_pos]) > 1024) {
        client->excused = true;
    }
}

static std::vector<uint8_t> message(const Client *client, uint16_t type, const void *body,
                                    size_t size, uint32_t said_size)
{
    std::vector<uint8_t> out;
    auto bytes = static_cast<const uint8_t *>(body);
    SpiceDataHeader full = {GUINT64_TO_LE(1), GUINT16_TO_LE(type), GUINT32_TO_LE(said_size), 0};
    SpiceMiniDataHeader mini = {GUINT16_TO_LE(type), GUINT32_TO_LE(said_size)};
    auto header = client->full_header ? reinterpret_cast<uint8_t *>(&full)
                                      : reinterpret_cast<uint8_t *>(&mini);

    out.assign(header, header + (client->full_header ? sizeof(full) : sizeof(mini)));
    out.insert(out.end(), bytes, bytes + size);
    return out;
}

static void send_message(Client *client, uint16_t type, const void *body, size_t size)
{
    std::vector<uint8_t> out = message(client, type, body, size, size);

    send_bytes(client, out.data(), out.size());
}

static bool take(Client *client, void *data, size_t size)
{
    pump();
    receive(client, SIZE_MAX);
    if (client->in.size() < size) {
        return false;
    }
    memcpy(data, client->in.data(), size);
    client->in.erase(client->in.begin(), client->in.begin() + size);
    return true;
}

static LinkMessage link_message(bool full_header, uint32_t caps)
{
    LinkMessage link = {};

    link.header.magic = SPICE_MAGIC;
    link.header.major_version = GUINT32_TO_LE(SPICE_VERSION_MAJOR);
    link.header.minor_version = GUINT32_TO_LE(SPICE_VERSION_MINOR);
    link.header.size = GUINT32_TO_LE(sizeof(link) - sizeof(link.header));
    link.mess.channel_type = SPICE_CHANNEL_MAIN;
    link.mess.num_common_caps = GUINT32_TO_LE(1);
    link.mess.num_channel_caps = GUINT32_TO_LE(1);
    link.mess.caps_offset = GUINT32_TO_LE(sizeof(link.mess));
    link.common_caps = GUINT32_TO_LE(1 << SPICE_COMMON_CAP_PROTOCOL_AUTH_SELECTION |
                                     1 << SPICE_COMMON_CAP_AUTH_SPICE |
                                     (full_header ? 0 : 1 << SPICE_COMMON_CAP_MINI_HEADER));
    link.caps = GUINT32_TO_LE(caps);
    return link;
}

struct Ticket {
    uint32_t mechanism;
    uint8_t data[SPICE_TICKET_KEY_PAIR_LENGTH / 8];
};

/* The same password always, encrypted once. */
static const Ticket *ticket(const char *password, size_t size)
{
    static std::map<std::string, Ticket> tickets;
    Ticket *made = &tickets[password];

    if (!made->mechanism) {
        EVP_PKEY *key = EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", (size_t) 1024);
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, nullptr);
        size_t len = sizeof(made->data);

        CHECK(EVP_PKEY_encrypt_init(ctx) == 1);
        CHECK(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1);
        CHECK(EVP_PKEY_encrypt(ctx, made->data, &len,
                               reinterpret_cast<const uint8_t *>(password), size) == 1);
        EVP_PKEY_CTX_free(ctx);
        EVP_PKEY_free(key);
        made->mechanism = GUINT32_TO_LE(SPICE_COMMON_CAP_AUTH_SPICE);
    }
    return made;
}

static std::unique_ptr<Client> client_new(unsigned int flags)
{
    int sv[2];
    std::unique_ptr<Client> client(new Client);

    CHECK(socketpair(AF_LOCAL, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) == 0);
    client->fd = sv[1];
    client->full_header = flags & 1;
    client->knows_power = !(flags & 2);
    if (flags & 4) {
        // it's soon full
        int size = 1;
        setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    }
    if (spice_server_add_client(server, sv[0], !!(flags & 8)) != 0) {
        close(sv[0]);
    }
    return client;
}

/* Link to the main channel, up to the server's reply; returns nullptr if there is none. */
static std::unique_ptr<Client> begin_link(unsigned int flags, uint32_t other_caps)
{
    auto client = client_new(flags);
    uint32_t caps = other_caps & ~(1u << SPICE_MAIN_CAP_POWER_CONTROL);
    if (client->knows_power) {
        caps |= 1u << SPICE_MAIN_CAP_POWER_CONTROL;
    }
    if (group != 0) {
        caps |= 1u << SPICE_MAIN_CAP_CONTROL_ONLY;
    }
    auto link = link_message(client->full_header, caps);
    CHECK(send(client->fd, &link, sizeof(link), MSG_NOSIGNAL) == sizeof(link));

    LinkReply reply;
    if (!take(client.get(), &reply, sizeof(reply))) {
        return nullptr;
    }
    CHECK(reply.reply.error == GUINT32_TO_LE(SPICE_LINK_ERR_OK));
    client->caps = GUINT32_FROM_LE(reply.caps);
    for (unsigned int i = 0; i < G_N_ELEMENTS(caps_of_actions); i++) {
        if (client->caps & 1u << caps_of_actions[i]) {
            client->advertised |= 1u << i;
        }
    }
    CHECK(client->advertised == (power_added ? power.actions : 0));
    CHECK(!!(client->caps & 1u << SPICE_MAIN_CAP_CONTROL_ONLY) ==
          (power_added && max_control > 0));
    client->control = (caps & client->caps & 1u << SPICE_MAIN_CAP_CONTROL_ONLY) != 0;
    client->password = passwords[flags >> 5 & 3];
    client->skip_auth = flags & 8;
    return client;
}

/* Authenticate; returns false if it was not let in. */
static bool finish_link(Client *client)
{
    const unsigned int changes_before = changes;
    auto auth = ticket(client->password, strlen(client->password) + 1);

    // it takes the place of viewers
    if (!client->control) {
        excuse(VIEWERS);
    }
    pump();
    const unsigned int n_control =
        std::count_if(std::begin(clients), std::end(clients), [](auto &other) {
            return other && other->control && !has_gone(other.get());
        });
    const int expected = expected_ticket(client);
    uint32_t expected_result = SPICE_LINK_ERR_OK;
    bool any_result = false;
    if (expected == -1) {
        expected_result = SPICE_LINK_ERR_PERMISSION_DENIED;
    } else {
        client->ticket = expected;
        if (client->control && n_control >= max_control) {
            // one that may act makes the oldest leave of those that may not
            const bool may = client->knows_power && power_added &&
                (power.actions & client->advertised & allow[expected]) != 0;
            bool has_room = false;

            for (auto &other: clients) {
                if (may && other && other->control && (migrated || !may_act(other.get()))) {
                    has_room |= !has_gone(other.get());
                    any_result |= migrated || !other->session;
                    other->excused = other->may_be_replaced = true;
                }
            }
            if (!has_room) {
                expected_result = SPICE_LINK_ERR_CHANNEL_NOT_AVAILABLE;
            }
        }
    }

    if (send(client->fd, auth, sizeof(*auth), MSG_NOSIGNAL) != sizeof(*auth)) {
        return false; // it took too long
    }
    uint32_t result;
    if (!take(client, &result, sizeof(result))) {
        return false;
    }
    CHECK(changes != changes_before || any_result ||
          result == GUINT32_TO_LE(expected_result));
    if (result != GUINT32_TO_LE(SPICE_LINK_ERR_OK)) {
        return false;
    }
    if (changes != changes_before) {
        // not known what this is, and whether there was a reason to disconnect it
        return false;
    }
    pump();
    receive(client, 64);
    size_t pos = 0;
    uint16_t type;
    uint32_t size;
    auto init = next_message(client->in, &pos, client->full_header, &type, &size);
    if (init && type == SPICE_MSG_MAIN_INIT) {
        client->session = get_u32(init);
    }
    return changes == changes_before;
}

static void connect_client(unsigned int n, unsigned int flags, uint32_t other_caps)
{
    slot(n).reset();
    changes++;
    pump();

    auto client = begin_link(flags, other_caps);
    if (client && finish_link(client.get())) {
        slot(n) = std::move(client);
    }
    pump();
}

/* Link to another channel with the id of a client, as a viewer does. */
static void link_other_channel(const Client *owner, unsigned int n)
{
    static const uint8_t types[] = {SPICE_CHANNEL_INPUTS, SPICE_CHANNEL_DISPLAY,
                                    SPICE_CHANNEL_MAIN};
    const bool full_header = n & 1;
    auto link = link_message(full_header, n & 2 ? 1u << SPICE_MAIN_CAP_CONTROL_ONLY : 0);
    auto auth = ticket(passwords[n >> 5 & 3], strlen(passwords[n >> 5 & 3]) + 1);

    if (other_channel != -1) {
        close(other_channel);
        pump();
    }
    link.mess.channel_type = types[n / 8 % G_N_ELEMENTS(types)];
    link.mess.connection_id = GUINT32_TO_LE(owner ? owner->session : n);
    auto client = client_new(n & 8);
    other_channel = dup(client->fd);
    CHECK(send(other_channel, &link, sizeof(link), MSG_NOSIGNAL) == sizeof(link));
    pump();
    if (link.mess.channel_type == SPICE_CHANNEL_MAIN) {
        // a client that says that it was migrated here
        excuse(VIEWERS);
    }
    send(other_channel, auth, sizeof(*auth), MSG_NOSIGNAL);
}

static void disconnect_client(unsigned int n)
{
    clients[n % G_N_ELEMENTS(clients)].reset();
    changes++;
}

static void disconnect_everybody()
{
    for (unsigned int i = 0; i < G_N_ELEMENTS(clients); i++) {
        disconnect_client(i);
    }
}

/* Remember the state that has to come before this result. */
static void result_given(const SpicePowerRequest *request, uint32_t result)
{
    for (auto &client: clients) {
        if (client && result != SPICE_POWER_RESULT_BUSY &&
            client->session == static_cast<uint32_t>(request->client->channel->connection_id)) {
            client->completed.insert({request->request_id, states.size() - 1});
        }
    }
}

static void complete_one(SpicePowerRequest *request, uint32_t result, unsigned int choice)
{
    result %= SPICE_POWER_RESULT_ENUM_END;
    result_given(request, result);
    spice_server_power_complete(request, result,
                                message_of(choice));
}

static void complete(uint32_t result, unsigned int choice)
{
    SpicePowerRequest *request = current;

    if (request) {
        current = nullptr;
        complete_one(request, result, choice);
    }
}

/* --- steps ---------------------------------------------------------------- */

/* a step does not run the main loop afterwards if it has this */
#define STEP_NO_PUMP 0x80

enum {
    STEP_GROUP = 96,
    STEP_HALF,
    STEP_OTHER_CHANNEL,
    STEP_TICKET,
    STEP_NO_AUTH,
    STEP_MAX,
    STEP_ALLOW,
    STEP_SWITCH_HOST,
    STEP_CALLBACKS,
    STEP_GREETING,
    STEP_NAME,
    STEP_END,
};

#ifdef LINK_ONLY

/* Steps of a client that has not linked yet. */
static void step(unsigned int what, Input *in)
{
    unsigned int n = input_u8(in) % 3;
    const uint8_t *bytes;
    size_t size;
    LinkMessage link;
    Client *client = clients[n].get();

    if (what % 8 == 0 || !client) {
        clients[n].reset();
        pump();
        clients[n] = client_new(input_u8(in));
        // whatever it does
        clients[n]->excused = true;
        return;
    }
    switch (what % 8) {
    case 1: // anything
        size = input_bytes(in, &bytes);
        send(client->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
    case 2: // a link message, with some bytes of it changed
        link = link_message(client->full_header, input_u32(in));
        for (unsigned int i = input_u8(in) % 4; i > 0; i--) {
            size_t pos = input_u8(in) % sizeof(link);
            reinterpret_cast<uint8_t *>(&link)[pos] = input_u8(in);
        }
        send(client->fd, &link, sizeof(link), MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
    case 3: { // a ticket: the right one, a wrong one, a part
        auto choice = input_u8(in);
        auto auth = choice & 4 ? ticket("power", 6)
                  : choice & 1 ? ticket("secret", 7) : ticket("wrong", 6);
        size = choice & 2 ? sizeof(*auth) : choice;
        size = std::min(size, sizeof(*auth));
        send(client->fd, auth, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
    }
    case 4: // a message of the main channel
        size = input_bytes(in, &bytes);
        send_message(client, input_u16(in), bytes, size);
        break;
    case 5: // data with its length
        size = input_bytes(in, &bytes);
        {
            uint32_t len = GUINT32_TO_LE(size);
            send(client->fd, &len, sizeof(len), MSG_NOSIGNAL | MSG_DONTWAIT);
            send(client->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        break;
    case 6:
        now += input_u16(in);
        break;
    case 7:
        shutdown(client->fd, SHUT_WR);
        break;
    }
    pump();
    receive(client, SIZE_MAX);
}

#else

/* Begin a message for the agent, or go on with the one that was begun: the server has
 * one buffer for it, and there are other clients, who may take this one's place. */
static void send_agent_piece(Client *client, size_t size, unsigned int type)
{
    auto &rest = client->agent_rest;

    if (rest.empty()) {
        // VDAgentMessage: protocol, type, opaque, size
        const uint32_t header[] = {GUINT32_TO_LE(1), GUINT32_TO_LE(type % 20), 0, 0,
                                   GUINT32_TO_LE(type)};
        rest = message(client, SPICE_MSGC_MAIN_AGENT_DATA, header, sizeof(header),
                       sizeof(header) + type);
        rest.resize(rest.size() + type);
    }
    size = std::min(size, rest.size());
    send_bytes(client, rest.data(), size);
    rest.erase(rest.begin(), rest.begin() + size);
}

static void send_migration(Client *client, unsigned int which, const uint8_t *bytes, size_t size)
{
    static const uint16_t types[] = {
        SPICE_MSGC_MAIN_MIGRATE_CONNECTED, SPICE_MSGC_MAIN_MIGRATE_CONNECTED_SEAMLESS,
        SPICE_MSGC_MAIN_MIGRATE_CONNECT_ERROR, SPICE_MSGC_MAIN_MIGRATE_END,
        SPICE_MSGC_MIGRATE_FLUSH_MARK, SPICE_MSGC_MIGRATE_DATA,
        SPICE_MSGC_MAIN_MIGRATE_DST_DO_SEAMLESS,
    };
    const uint16_t type = types[which % G_N_ELEMENTS(types)];
    // SpiceMigrateDataHeader, and a SpiceMigrateDataMain that begins as one
    std::vector<uint8_t> body = {'M', 'M', 'G', 'D', 1, 0, 0, 0};

    if (type != SPICE_MSGC_MIGRATE_DATA) {
        body.assign(4, which);
    } else {
        body.insert(body.end(), bytes, bytes + size);
        body.resize(200);
    }
    send_message(client, type, body.data(), body.size());
}

static void step(unsigned int what, Input *in)
{
    unsigned int n = input_u8(in);
    Client *client = slot(n).get();
    const uint8_t *bytes;
    size_t size;
    uint32_t number;

    // the first ones have more numbers than one, and keep those
    switch (what >= STEP_GROUP && what < STEP_END ? what : what % 24) {
    case STEP_GROUP:
        group = n % 3;
        break;
    case STEP_HALF: {
        auto &half = half_linked[n / 3 % G_N_ELEMENTS(half_linked)];
        number = input_u8(in);
        if (!half) {
            half = begin_link(number, 0);
            break;
        }
        auto linked = std::move(half);
        slot(n).reset();
        changes++;
        if (finish_link(linked.get())) {
            slot(n) = std::move(linked);
        }
        break;
    }
    case STEP_OTHER_CHANNEL:
        number = input_u8(in);
        if (client && !(number & 0x80)) {
            // that is what a viewer has, and what ends a control client
            client->excused = client->excused || client->control;
        }
        link_other_channel(number & 0x80 ? nullptr : client, number & 0x7f);
        break;
    case STEP_TICKET:
        set_ticket(n, input_u8(in));
        break;
    case STEP_NO_AUTH:
        spice_server_set_noauth(server);
        ticketing = false;
        tickets[SPICE_TICKET_ORDINARY].password.clear();
        break;
    case STEP_MAX:
        max_control = n & 0x80 ? 16 : n % 6;
        spice_server_set_max_control_clients(server, max_control);
        break;
    case STEP_ALLOW:
        allow[n % G_N_ELEMENTS(allow)] = input_u8(in);
        if (power_added && !(n & 0x80)) {
            spice_server_power_update_allowed(&power);
        }
        break;
    case STEP_SWITCH_HOST:
        if (migrate_added) {
            migrated = true;
            excuse(VIEWERS);
            spice_server_migrate_switch(server);
        }
        break;
    case STEP_CALLBACKS:
        on_refused = n;
        on_cancelled = input_u8(in);
        break;
    case STEP_GREETING:
        // what else a control client may say
        if (client && n & 0x80) {
            static const uint8_t pong[12] = {};
            send_message(client, SPICE_MSGC_PONG, pong, sizeof(pong));
        } else if (client) {
            send_message(client, SPICE_MSGC_MAIN_ATTACH_CHANNELS, nullptr, 0);
        }
        break;
    case STEP_NAME: {
        static const uint8_t uuid[16] = {1};
        const std::string name(n, 'n');
        spice_server_set_name(server, name.c_str());
        spice_server_set_uuid(server, uuid);
        break;
    }
    case 0:
        size = input_u8(in);
        connect_client(n, size, size & 16 ? input_u32(in) : 0);
        break;
    case 1: // a request
    case 2:
        if (client) {
            number = GUINT32_TO_LE(input_u8(in));
            send_message(client, messages_of_actions[n / 3 % 5], &number, sizeof(number));
        }
        break;
    case 3: // a request with more or less than an id
        if (client) {
            size = input_bytes(in, &bytes);
            send_message(client, messages_of_actions[n / 3 % 5], bytes, size);
        }
        break;
    case 4: // any message
        if (client) {
            size = input_bytes(in, &bytes);
            send_message(client, input_u8(in) | (n & 0x80) << 1, bytes, size);
        }
        break;
    case 5: // one of a size that it does not have
        if (client) {
            number = input_u32(in);
            size = input_bytes(in, &bytes);
            auto out = message(client, messages_of_actions[n / 3 % 5], bytes, size, number);
            send_bytes(client, out.data(), out.size());
        }
        break;
    case 6: // anything
        if (client) {
            size = input_bytes(in, &bytes);
            send_bytes(client, bytes, size);
        }
        break;
    case 7: // byte by byte
        if (client) {
            number = GUINT32_TO_LE(input_u32(in));
            auto out = message(client, messages_of_actions[n / 3 % 5], &number, sizeof(number),
                               sizeof(number));
            for (uint8_t byte: out) {
                if (slot(n).get() != client) {
                    break; // disconnected by a request of its own
                }
                send_bytes(client, &byte, 1);
                pump();
            }
        }
        break;
    case 8:
        // more and more: a flood
        if (client) {
            for (unsigned int i = input_u8(in); i > 0; i--) {
                number = GUINT32_TO_LE(i);
                send_message(client, messages_of_actions[n / 3 % 5], &number, sizeof(number));
            }
        }
        break;
    case 9:
        complete(n, input_u8(in));
        break;
    case 10:
        number = input_u8(in);
        set_state(n % SPICE_POWER_STATE_ENUM_END, number);
        break;
    case 11:
        on_request.what = n;
        on_request.result = input_u8(in);
        on_request.message = input_u8(in);
        break;
    case 12:
        if (n & 0x80) {
            remove_power();
        } else {
            add_power(n);
        }
        break;
    case 13:
        slot(n).reset();
        changes++;
        break;
    case 14: // some of what was received
        if (client) {
            receive(client, input_u8(in) * 16);
            check_input(client);
        }
        break;
    case 15:
        if (power_added) {
            int unsent = spice_server_power_is_unsent(&power);
            CHECK(unsent == 0 || unsent == 1);
        }
        break;
    case 16:
        now += input_u16(in);
        if (migrated) {
            // who was told to go has so long
            excuse(EVERYBODY);
        }
        break;
    case 17:
        if (client) {
            client->excused = true;
            shutdown(client->fd, n & 0x80 ? SHUT_WR : SHUT_RD);
        }
        break;
    case 18:
        if (!migrate_added) {
            break;
        }
        migrated = true;
        excuse(VIEWERS);
        switch (n % 5) {
        case 0:
            // the last host's name stays when a server is destroyed
            __lsan_disable();
            spice_server_migrate_connect(server, "localhost", 5900, n & 0x80 ? -1 : 0, nullptr);
            __lsan_enable();
            break;
        case 1:
            spice_server_migrate_start(server);
            break;
        case 2:
            spice_server_migrate_end(server, 1);
            break;
        case 3:
            spice_server_migrate_end(server, 0);
            break;
        case 4:
            spice_server_set_seamless_migration(server, !!(n & 0x80));
            break;
        }
        break;
    case 19:
        excuse(VIEWERS);
        if (agent.st) {
            spice_server_remove_interface(&agent.base);
            agent.st = nullptr;
        } else {
            agent_output.clear();
            spice_server_add_interface(server, &agent.base);
        }
        break;
    case 20: // a message for the agent, in pieces as long as the input says
        size = input_u8(in);
        if (client) {
            send_agent_piece(client, size, n / 3);
        }
        break;
    case 21: // what a client with an agent says beside
        number = GUINT32_TO_LE(input_u8(in));
        if (client) {
            send_message(client, n & 0x80 ? SPICE_MSGC_MAIN_AGENT_TOKEN
                                          : SPICE_MSGC_MAIN_AGENT_START, &number, sizeof(number));
        }
        break;
    case 22: // its part in a migration, at either end, in whatever order
        size = input_bytes(in, &bytes);
        if (client) {
            send_migration(client, n / 3, bytes, size);
        }
        break;
    case 23: // the guest's agent: a chunk, whole or cut, or what is left of it
        size = input_bytes(in, &bytes);
        excuse(VIEWERS);
        if (agent.st) {
            if (n & 0x80) {
                const uint32_t chunk[2] = {GUINT32_TO_LE(1 + (n & 1)), GUINT32_TO_LE(n & 0x7f)};
                auto data = reinterpret_cast<const uint8_t *>(chunk);
                agent_output.insert(agent_output.end(), data, data + sizeof(chunk));
            }
            agent_output.insert(agent_output.end(), bytes, bytes + size);
            spice_server_char_device_wakeup(&agent);
        }
        break;
    }
}

#endif

static void start(unsigned int flags)
{
    now = 0;
    n_requests = 0;
    on_request = {};
    states.assign(1, {SPICE_POWER_STATE_UNKNOWN, 0});
    power_removed = false;
    migrate_added = false;
    migrated = false;
    current = nullptr;
    agent.st = nullptr;
    agent_output.clear();
    group = 0;
    on_refused = on_cancelled = 0;
    for (auto &actions: allow) {
        actions = SPICE_POWER_ACTION_MASK;
    }
    last_allowed.clear();
    for (auto &known: tickets) {
        known = {};
    }
    ticketing = false;
    max_control = 16;

    server = spice_server_new();
    if (flags & 1) {
        setenv("SPICE_DEBUG_ALLOW_MC", "1", 1);
    } else {
        unsetenv("SPICE_DEBUG_ALLOW_MC");
    }
#ifdef LINK_ONLY
    if (flags & 2) {
        spice_server_set_noauth(server);
    } else {
        spice_server_set_ticket(server, "secret", flags & 4 ? 1 : 0, flags & 8, flags & 16);
    }
    if (flags & 32) {
        spice_server_set_power_ticket(server, "power", 0, 0, 0);
    }
#else
    spice_server_set_noauth(server);
#endif
    CHECK(spice_server_init(server, &core) == 0);
    if (!(flags & 64)) {
        add_power(SPICE_POWER_ACTION_MASK);
    }
#ifndef LINK_ONLY
    if (flags & 2) {
        CHECK(spice_server_add_interface(server, &migrate.base) == 0);
        migrate_added = true;
    }
#endif
}

/* Everybody reads what there is; whatever is still asked for is answered. */
static void finish(unsigned int flags)
{
    on_request.what = 2;
    on_refused = on_cancelled = 0;
    if (flags & 4) {
        complete(SPICE_POWER_RESULT_OK, 0);
    }
#ifndef LINK_ONLY
    set_state(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_MASK);
    for (auto &client: clients) {
        if (!client) {
            continue;
        }
        for (bool more = true; more;) {
            pump();
            size_t had = client->in.size();
            receive(client.get(), SIZE_MAX);
            more = client->in.size() != had;
            check_input(client.get());
        }
    }
    check_connections();
    // everybody has seen what holds now
    for (auto &client: clients) {
        if (!client || has_gone(client.get()) || migrated || !client->session ||
            !client->knows_power || !(client->caps & 1u << SPICE_MAIN_CAP_POWER_CONTROL)) {
            continue;
        }
        CHECK(client->state_received && client->state.state == states.back().state);
        CHECK(client->allowed == (power_added ? power.actions & client->advertised &
                                                last_allowed[client->session] : 0));
    }
    if (flags & 4) {
        for (auto &client: clients) {
            int unread = 0;

            if (!client || client->eof || migrated) {
                continue;
            }
            CHECK(ioctl(client->fd, SIOCOUTQ, &unread) == 0);
            for (auto &waiting: client->waiting) {
                CHECK(waiting.second == 0 || unread);
            }
        }
    }
#endif
    for (auto &client: clients) {
        client.reset();
    }
    for (auto &client: half_linked) {
        client.reset();
    }
    if (other_channel != -1) {
        close(other_channel);
        other_channel = -1;
    }
    pump();
}

static void warm_up();

extern "C" int LLVMFuzzerInitialize(int *, char ***)
{
    core.base = {SPICE_INTERFACE_CORE, "fuzz", SPICE_INTERFACE_CORE_MAJOR,
                 SPICE_INTERFACE_CORE_MINOR};
    core.timer_add = timer_add;
    core.timer_start = timer_start;
    core.timer_cancel = timer_cancel;
    core.timer_remove = timer_remove;
    core.watch_add = watch_add;
    core.watch_update_mask = watch_update_mask;
    core.watch_remove = watch_remove;
    core.channel_event = channel_event;

    power_interface.base = {SPICE_INTERFACE_POWER, "fuzz", SPICE_INTERFACE_POWER_MAJOR,
                            SPICE_INTERFACE_POWER_MINOR};
    power_interface.request = power_request;
    power_interface.refused = power_refused;
    power_interface.cancelled = power_cancelled;
    power_interface.allowed = power_allowed;
    power.base.sif = &power_interface.base;

    migrate_interface.base = {SPICE_INTERFACE_MIGRATION, "fuzz", SPICE_INTERFACE_MIGRATION_MAJOR,
                              SPICE_INTERFACE_MIGRATION_MINOR};
    migrate_interface.migrate_connect_complete = migrate_done;
    migrate_interface.migrate_end_complete = migrate_done;
    migrate.base.sif = &migrate_interface.base;

    agent_interface.base = {SPICE_INTERFACE_CHAR_DEVICE, "fuzz",
                            SPICE_INTERFACE_CHAR_DEVICE_MAJOR, SPICE_INTERFACE_CHAR_DEVICE_MINOR};
    agent_interface.state = agent_state;
    agent_interface.write = agent_write;
    agent_interface.read = agent_read;
    agent.base.sif = &agent_interface.base;
    agent.subtype = "vdagent";

    // warnings are what bad input is answered with; criticals are ours
    g_log_set_default_handler([](const char *domain, GLogLevelFlags level, const char *text,
                                 void *) {
        if (level & (G_LOG_FLAG_FATAL | G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL)) {
            fprintf(stderr, "%s: %s\n", domain, text);
            abort();
        }
    }, nullptr);
    signal(SIGPIPE, SIG_IGN);
    warm_up();
    return 0;
}

static bool warm;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = {data, size};
    unsigned int flags = input_u8(&in);

    start(flags);
    pump();
    size_t idle = __sanitizer_get_current_allocated_bytes();

    while (in.size) {
        unsigned int what = input_u8(&in);

        step(what & ~STEP_NO_PUMP, &in);
        if (!(what & STEP_NO_PUMP)) {
            pump();
        }
        check_connections();
    }
    finish(flags);

    // nothing is left of the clients
    size_t after = __sanitizer_get_current_allocated_bytes();
    CHECK(!warm || after < idle + 64 * 1024);

    spice_server_destroy(server);
    server = nullptr;
    power_added = false;
    if (current) {
        orphans.push_back(current);
        current = nullptr;
    }
    for (auto request: orphans) {
        // those requests are still ours
        spice_server_power_complete(request, SPICE_POWER_RESULT_OK, "too late");
    }
    orphans.clear();
    for (auto watch: watches) {
        CHECK(watch->removed);
        delete watch;
    }
    watches.clear();
    CHECK(timers.empty());
    return 0;
}

/* What libraries keep for ever is allocated before memory is looked at. */
static void warm_up()
{
#ifdef LINK_ONLY
    static const uint8_t input[] = {0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 3, 0, 3};
#else
    static const uint8_t input[] = {0, 0, 0, 0, 1, 0, 0};
#endif

    LLVMFuzzerTestOneInput(input, sizeof(input));
    warm = true;
}
