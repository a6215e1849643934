/*
 * Power of a domain, by libvirt
 *
 * Nothing is asked for at intervals: libvirt tells when something has happened
 * to a domain, and then it's looked at, as a whole. That may be more often than
 * needed, but what is known can't be wrong for long, whatever has been missed.
 *
 * A look is two calls. The state comes at once, even if something else is being
 * done to the domain; its XML, with where its SPICE server is, waits for that.
 * What an action does depends on what a look has seen last, and what a look means
 * on the action that is under way: the two stay in one file.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gio/gio.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "graphics.h"
#include "hypervisor.h"
#include "names.h"

/*
 * A daemon that has just been started says of its domains what was so when it
 * ended. When it finds that one has ended meanwhile it does not tell (libvirt's
 * qemuProcessReconnect() has no event for that), so after a connection has been
 * made it is looked at some times more.
 */
static const guint settle_ms[] = { 500, 2000, 10000, 60000 };

typedef struct BackendLibvirt BackendLibvirt;

/* Which domain; of a thread, or of the main loop */
typedef struct DomainId {
    char *name;                 /* as configured: may be a UUID */
    char uuid[VIR_UUID_STRING_BUFLEN];  /* empty: not known yet */
} DomainId;

/* A call for the state; these have no backend if that is freed meanwhile */
typedef struct Look {
    BackendLibvirt *backend;
    DomainId id;
    gboolean is_active;
    int state, reason;          /* libvirt's */
    char *trouble;              /* NULL: what is above is right */
} Look;

/* A call for the XML */
typedef struct Reading {
    BackendLibvirt *backend;
    DomainId id;
    unsigned int flags;
    Graphics *graphics;         /* NULL if there is none */
    char *trouble;              /* or it's not known */
} Reading;

/* A call for an action */
typedef struct Act {
    BackendLibvirt *backend;
    DomainId id;
    guint32 action;
    guint32 result;
    char *message;              /* NULL if that is OK */
} Act;

struct BackendLibvirt {
    Backend base;
    const MachineConfig *config;
    Hypervisor *hypervisor;     /* NULL until it is watched */
    HypervisorWatch *watch;
    DomainId id;

    Look *look;                 /* under way, or NULL */
    gboolean look_again;        /* it may be too old */
    guint settle_timer, settled;
    BackendStatusFunc status_changed;
    gpointer status_opaque;

    gboolean is_attended;
    Reading *reading;           /* the same for the XML */
    gboolean read_again;
    gboolean has_console;       /* the domain runs, and goes on running */
    BackendConsoleFunc console_changed;
    gpointer console_opaque;

    /* Paused by our clients; others' pauses are not for them to end */
    gboolean has_paused;

    Act *act;                   /* under way, or NULL */
    BackendResultFunc acted;    /* NULL: it has been answered */
    gpointer acted_opaque;
    guint act_timer;            /* it is given up */
    guint answer_source;        /* what could not be begun is answered */
    guint32 answer;
    char *answer_message;
};

static void look(BackendLibvirt *self);

/* --- in threads ---------------------------------------------------------- */

static gboolean is_uuid(const char *text)
{
    return g_uuid_string_is_valid(text);
}

/* Returns: NULL and libvirt's last error, or the domain; caller frees it */
static virDomainPtr find_domain(virConnectPtr connection, const DomainId *id)
{
    virDomainPtr domain = NULL;

    if (!connection) {
        return NULL;
    }
    if (*id->uuid) {
        domain = virDomainLookupByUUIDString(connection, id->uuid);
    } else if (is_uuid(id->name)) {
        domain = virDomainLookupByUUIDString(connection, id->name);
    } else {
        return virDomainLookupByName(connection, id->name);
    }
    /* One that has been removed and made again is another one */
    if (!domain && *id->uuid && virGetLastErrorCode() == VIR_ERR_NO_DOMAIN) {
        DomainId again = { .name = id->name };

        virResetLastError();
        return find_domain(connection, &again);
    }
    return domain;
}

static char *last_trouble(const DomainId *id)
{
    if (virGetLastErrorCode() == VIR_ERR_NO_DOMAIN) {
        return g_strdup_printf("There is no domain %s", id->name);
    }
    return g_strdup(virGetLastErrorMessage());
}

static void look_run(virConnectPtr connection, gpointer data)
{
    Look *look = data;
    virDomainPtr domain = find_domain(connection, &look->id);

    if (!domain ||
        virDomainGetUUIDString(domain, look->id.uuid) < 0 ||
        virDomainGetState(domain, &look->state, &look->reason, 0) < 0) {
        look->trouble = last_trouble(&look->id);
        if (virGetLastErrorCode() == VIR_ERR_NO_DOMAIN) {
            *look->id.uuid = '\0';
        }
    } else {
        look->is_active = virDomainGetID(domain) != (unsigned int)-1;
    }
    if (domain) {
        virDomainFree(domain);
    }
}

static void read_run(virConnectPtr connection, gpointer data)
{
    Reading *reading = data;
    virDomainPtr domain = find_domain(connection, &reading->id);
    char *xml = domain ? virDomainGetXMLDesc(domain, reading->flags) : NULL;

    if (xml) {
        g_autoptr(GError) error = NULL;

        reading->graphics = graphics_parse(xml, &error);
        reading->trouble = error ? g_strdup(error->message) : NULL;
    } else {
        reading->trouble = last_trouble(&reading->id);
    }
    free(xml);
    if (domain) {
        virDomainFree(domain);
    }
}

static guint32 last_result(void)
{
    switch (virGetLastErrorCode()) {
    case VIR_ERR_OPERATION_TIMEOUT:
    case VIR_ERR_RESOURCE_BUSY:
        return SPICE_POWER_RESULT_BUSY;
    case VIR_ERR_OPERATION_INVALID:
        return SPICE_POWER_RESULT_WRONG_STATE;
    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_CONFIG_UNSUPPORTED:
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
    case VIR_ERR_OPERATION_UNSUPPORTED:
        return SPICE_POWER_RESULT_UNSUPPORTED;
    case VIR_ERR_OPERATION_DENIED:
    case VIR_ERR_ACCESS_DENIED:
    case VIR_ERR_AUTH_FAILED:
    case VIR_ERR_AUTH_UNAVAILABLE:
        return SPICE_POWER_RESULT_DENIED;
    default:
        return SPICE_POWER_RESULT_FAILED;
    }
}

static int power_on(virDomainPtr domain)
{
    int state;

    if (virDomainGetState(domain, &state, NULL, 0) < 0) {
        return -1;
    }
    return state == VIR_DOMAIN_PMSUSPENDED
           ? virDomainPMWakeup(domain, 0)
           : virDomainCreateWithFlags(domain, 0);
}

static int perform(virDomainPtr domain, guint32 action)
{
    switch (action) {
    case SPICE_POWER_ACTION_RESET:
        return virDomainReset(domain, 0);
    case SPICE_POWER_ACTION_OFF:
        return virDomainDestroyFlags(domain, 0);
    case SPICE_POWER_ACTION_ON:
        return power_on(domain);
    case SPICE_POWER_ACTION_PAUSE:
        return virDomainSuspend(domain);
    case SPICE_POWER_ACTION_CONTINUE:
        return virDomainResume(domain);
    default:
        g_return_val_if_reached(-1);
    }
}

static gboolean is_running(virDomainPtr domain)
{
    int state;

    return virDomainGetState(domain, &state, NULL, 0) == 0 &&
           state == VIR_DOMAIN_RUNNING;
}

static void act_run(virConnectPtr connection, gpointer data)
{
    Act *act = data;
    virDomainPtr domain = find_domain(connection, &act->id);

    if (domain && perform(domain, act->action) == 0) {
        act->result = SPICE_POWER_RESULT_OK;
    } else {
        act->result = last_result();
        act->message = last_trouble(&act->id);
        /*
         * libvirt lets a domain that is being ended end, and then starts it. One
         * that runs and goes on to, it does not start
         */
        if (domain && act->action == SPICE_POWER_ACTION_ON &&
            act->result == SPICE_POWER_RESULT_WRONG_STATE &&
            is_running(domain)) {
            act->result = SPICE_POWER_RESULT_OK;
            g_clear_pointer(&act->message, g_free);
        }
    }
    if (domain) {
        virDomainFree(domain);
    }
}

/* --- the state ----------------------------------------------------------- */

static guint32 state_of(const Look *look)
{
    switch (look->state) {
    case VIR_DOMAIN_NOSTATE:
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
    case VIR_DOMAIN_SHUTDOWN:
        return SPICE_POWER_STATE_ON;
    case VIR_DOMAIN_PAUSED:
        return SPICE_POWER_STATE_PAUSED;
    case VIR_DOMAIN_PMSUSPENDED:
        return SPICE_POWER_STATE_SUSPENDED;
    case VIR_DOMAIN_CRASHED:
        /* else it is one that has crashed and been ended */
        return look->is_active ? SPICE_POWER_STATE_CRASHED
                               : SPICE_POWER_STATE_OFF;
    case VIR_DOMAIN_SHUTOFF:
        return SPICE_POWER_STATE_OFF;
    default:
        return SPICE_POWER_STATE_UNKNOWN;
    }
}

/* As QEMU and libvirt have it for the clients of a machine's own server */
static gboolean may_continue(const BackendLibvirt *self, const Look *look)
{
    if (look->state == VIR_DOMAIN_CRASHED) {
        return look->reason == VIR_DOMAIN_CRASHED_PANICKED;
    }
    switch (look->reason) {
    case VIR_DOMAIN_PAUSED_IOERROR:
    case VIR_DOMAIN_PAUSED_WATCHDOG:
    case VIR_DOMAIN_PAUSED_CRASHED:
#ifdef HAVE_PAUSED_GRAPHICS
    case VIR_DOMAIN_PAUSED_GRAPHICS:
#endif
        return TRUE;
    default:
        return self->has_paused;
    }
}

static guint32 possible_in(const BackendLibvirt *self, const Look *look,
                           guint32 state)
{
    guint32 possible = backend_possible(state);

    switch (state) {
    case SPICE_POWER_STATE_PAUSED:
    case SPICE_POWER_STATE_CRASHED:
        return may_continue(self, look)
               ? possible | SPICE_POWER_ACTION_CONTINUE
               : possible & ~SPICE_POWER_ACTION_CONTINUE;
    case SPICE_POWER_STATE_SUSPENDED:
        /* as the button of a real machine, it wakes it up */
        return possible | SPICE_POWER_ACTION_ON;
    default:
        return possible;
    }
}

/* Whether its SPICE server is for clients that come now */
static gboolean takes_clients(const Look *look)
{
    switch (look->state) {
    case VIR_DOMAIN_SHUTDOWN:
        return FALSE;           /* it is about to end */
    case VIR_DOMAIN_PAUSED:
        /* nor does it run yet, here; or not here any more */
        return look->reason != VIR_DOMAIN_PAUSED_STARTING_UP &&
               look->reason != VIR_DOMAIN_PAUSED_MIGRATION;
    default:
        return look->is_active;
    }
}

static void tell_trouble(BackendLibvirt *self, const char *trouble)
{
    const BackendStatus status = {
        .state = SPICE_POWER_STATE_UNKNOWN,
        .possible = backend_possible(SPICE_POWER_STATE_UNKNOWN),
        .trouble = trouble,
        .trouble_kind = BACKEND_TROUBLE_AWAY,
    };

    self->status_changed(&status, self->status_opaque);
}

/* --- the domain's own SPICE server --------------------------------------- */

/* Whether the hypervisor is on this computer */
static gboolean is_here(const MachineConfig *config)
{
    g_autoptr(GUri) uri = g_uri_parse(config->libvirt_uri, G_URI_FLAGS_NONE,
                                      NULL);

    return uri && (!g_uri_get_host(uri) || !*g_uri_get_host(uri));
}

/*
 * Where clients of it find @graphics, of a domain that runs. Returns: NULL, or
 * why they can't
 */
static const char *place_clients(const MachineConfig *config,
                                 const Graphics *graphics,
                                 BackendConsole *console)
{
    /* who has come by TLS goes on with TLS */
    gboolean only_tls = config_takes_tls(config) && !config->port;
    g_autoptr(GInetAddress) address =
        graphics->address ? g_inet_address_new_from_string(graphics->address)
                          : NULL;

    if (!graphics->port && !graphics->tls_port) {
        return "The domain's SPICE graphics listens on no port";
    }
    if (only_tls && !graphics->tls_port) {
        return "The domain's SPICE graphics has no TLS port, unlike this one:"
               " see spice_tls in libvirt's qemu.conf";
    }
    if (!config->hand_over_host && config->unix_socket &&
        !config->has_shared_port) {
        /* their way to the socket is the only one that they know */
        return "Who comes by a UNIX socket stays; if that is a proxy for"
               " others, set [server] hand-over-host";
    }
    if (!config->hand_over_host &&
        (!graphics->address ||
         (address && g_inet_address_get_is_any(address)))) {
        return "The domain listens on every address: set [server]"
               " hand-over-host to the one that clients are to use";
    }
    console->host = config->hand_over_host ?: graphics->address;
    console->port = only_tls || !graphics->port
                    ? 0 : config->hand_over_port ?: graphics->port;
    console->tls_port = graphics->tls_port
                        ? config->hand_over_tls_port ?: graphics->tls_port : 0;
    if (is_here(config) && address && !g_inet_address_get_is_any(address)) {
        console->check_host = graphics->address;
        console->check_port = only_tls || !graphics->port ? graphics->tls_port
                                                          : graphics->port;
    } else {
        console->check_host = console->host;
        console->check_port = console->port ?: console->tls_port;
    }
    return NULL;
}

/* @graphics is NULL if there is none, or if it's not known, for @trouble */
static void tell_console(BackendLibvirt *self, const Graphics *graphics,
                         const char *trouble)
{
    BackendConsole console = { .problem = trouble };

    if (!self->console_changed || !self->is_attended) {
        return;
    }
    if (graphics) {
        console.ticket = graphics->password;
        console.ticket_end = graphics->password_end;
        console.power_ticket = graphics->power_password;
        console.power_ticket_end = graphics->power_password_end;
    }
    if (self->has_console && graphics) {
        console.problem = place_clients(self->config, graphics, &console);
    } else if (self->has_console && !trouble) {
        console.problem = "The domain has no SPICE graphics";
    }
    self->console_changed(&console, self->console_opaque);
}

static void read_xml(BackendLibvirt *self);

static void read_done(gpointer data)
{
    Reading *reading = data;
    BackendLibvirt *self = reading->backend;

    if (self) {
        self->reading = NULL;
        if (self->read_again) {
            read_xml(self);
        } else {
            tell_console(self, reading->graphics, reading->trouble);
        }
    }
    graphics_free(reading->graphics);
    g_free(reading->trouble);
    g_free(reading->id.name);
    g_free(reading);
}

static void copy_id(DomainId *id, const DomainId *from)
{
    *id = *from;
    id->name = g_strdup(from->name);
}

static void read_xml(BackendLibvirt *self)
{
    gboolean secret = self->config->ticket_from == TICKET_DOMAIN;
    Reading *reading;

    self->read_again = self->reading != NULL;
    if (self->reading) {
        return;
    }
    /* Nobody needs it, or it can't be had: whatever has been known is over */
    if (!self->console_changed || !self->is_attended || !*self->id.uuid ||
        !(self->has_console || secret)) {
        tell_console(self, NULL, NULL);
        return;
    }
    reading = g_new0(Reading, 1);
    reading->backend = self;
    copy_id(&reading->id, &self->id);
    reading->flags = secret ? VIR_DOMAIN_XML_SECURE : 0;
    if (hypervisor_call(self->hypervisor, FALSE, read_run, read_done,
                        reading)) {
        self->reading = reading;
    } else {
        g_free(reading->id.name);
        g_free(reading);
    }
}

/* ------------------------------------------------------------------------- */

static void look_done(gpointer data)
{
    Look *found = data;
    BackendLibvirt *self = found->backend;

    if (self) {
        self->look = NULL;
        memcpy(self->id.uuid, found->id.uuid, sizeof(self->id.uuid));
        if (hypervisor_trouble(self->hypervisor)) {
            /* that has been told, and is newer */
        } else if (self->look_again) {
            look(self);
        } else if (found->trouble) {
            self->has_console = FALSE;
            tell_trouble(self, found->trouble);
            read_xml(self);
        } else {
            guint32 state = state_of(found);
            BackendStatus status = {
                .state = state,
                /* QEMU has said that it ends */
                .is_changing = found->state == VIR_DOMAIN_SHUTDOWN,
            };

            /* what it does not show yet may be under way */
            if (state != SPICE_POWER_STATE_PAUSED &&
                !(self->act &&
                  self->act->action == SPICE_POWER_ACTION_PAUSE)) {
                self->has_paused = FALSE;
            }
            status.possible = possible_in(self, found, state);
            self->has_console = takes_clients(found);
            self->status_changed(&status, self->status_opaque);
            read_xml(self);
        }
    }
    g_free(found->trouble);
    g_free(found->id.name);
    g_free(found);
}

static void look(BackendLibvirt *self)
{
    self->look_again = self->look != NULL;
    if (self->look) {
        return;
    }
    self->look = g_new0(Look, 1);
    self->look->backend = self;
    copy_id(&self->look->id, &self->id);
    if (!hypervisor_call(self->hypervisor, TRUE, look_run, look_done,
                         self->look)) {
        g_free(self->look->id.name);
        g_clear_pointer(&self->look, g_free);
    }
}

static gboolean settle(gpointer opaque);

static void settle_later(BackendLibvirt *self)
{
    self->settle_timer = self->settled < G_N_ELEMENTS(settle_ms)
                         ? g_timeout_add(settle_ms[self->settled], settle,
                                         self) : 0;
}

static gboolean settle(gpointer opaque)
{
    BackendLibvirt *self = opaque;

    look(self);
    self->settled++;
    settle_later(self);
    return G_SOURCE_REMOVE;
}

static void connected(BackendLibvirt *self)
{
    look(self);
    self->settled = 0;
    settle_later(self);
}

static void connection_changed(gpointer opaque)
{
    BackendLibvirt *self = opaque;
    const char *trouble = hypervisor_trouble(self->hypervisor);

    g_clear_handle_id(&self->settle_timer, g_source_remove);
    if (trouble) {
        self->has_console = FALSE;
        tell_trouble(self, trouble);
        /* what has been known of the ticket stays right */
        if (self->console_changed &&
            self->config->ticket_from != TICKET_DOMAIN) {
            tell_console(self, NULL, NULL);
        }
    } else {
        connected(self);
    }
}

static void domain_changed(const char *name, const char *uuid,
                           gboolean may_be_gone, gpointer opaque)
{
    BackendLibvirt *self = opaque;

    if (!strcmp(uuid, self->id.uuid) || !strcmp(name, self->id.name) ||
        !g_ascii_strcasecmp(uuid, self->id.name)) {
        look(self);
    }
}

static void libvirt_watch(Backend *backend, BackendStatusFunc changed,
                          gpointer opaque)
{
    static const HypervisorEvents events = {
        .connection = connection_changed,
        .domain = domain_changed,
    };
    BackendLibvirt *self = (BackendLibvirt *)backend;

    self->status_changed = changed;
    self->status_opaque = opaque;
    self->hypervisor = hypervisor_get(self->config->libvirt_uri);
    self->watch = hypervisor_watch(self->hypervisor,
                                   is_uuid(self->id.name) ? self->id.name
                                                          : NULL,
                                   &events, self);
    /* or it will be told */
    if (!hypervisor_trouble(self->hypervisor)) {
        connected(self);
    }
}

static void libvirt_watch_console(Backend *backend, BackendConsoleFunc changed,
                                  gpointer opaque)
{
    BackendLibvirt *self = (BackendLibvirt *)backend;

    self->console_changed = changed;
    self->console_opaque = opaque;
}

static void libvirt_refresh(Backend *backend);

static void libvirt_attend(Backend *backend, gboolean is_attended)
{
    BackendLibvirt *self = (BackendLibvirt *)backend;

    if (is_attended != self->is_attended) {
        self->is_attended = is_attended;
        if (is_attended) {
            libvirt_refresh(backend);
        }
    }
}

static void libvirt_refresh(Backend *backend)
{
    BackendLibvirt *self = (BackendLibvirt *)backend;

    if (self->hypervisor && !hypervisor_trouble(self->hypervisor)) {
        look(self);
    }
}

static gboolean libvirt_can_ask(Backend *backend)
{
    return FALSE;
}

/* --- actions ------------------------------------------------------------- */

static guint32 libvirt_supported(Backend *backend)
{
    return SPICE_POWER_ACTION_MASK;
}

static void answer(BackendLibvirt *self, guint32 result, const char *message)
{
    BackendResultFunc acted = self->acted;

    g_clear_handle_id(&self->act_timer, g_source_remove);
    self->acted = NULL;
    acted(result, message ?: "", self->acted_opaque);
}

static gboolean answer_now(gpointer opaque)
{
    BackendLibvirt *self = opaque;
    g_autofree char *message = g_steal_pointer(&self->answer_message);

    self->answer_source = 0;
    answer(self, self->answer, message);
    return G_SOURCE_REMOVE;
}

static void answer_later(BackendLibvirt *self, guint32 result,
                         const char *message)
{
    self->answer = result;
    self->answer_message = g_strdup(message);
    self->answer_source = g_idle_add(answer_now, self);
}

static void act_done(gpointer data)
{
    Act *act = data;
    BackendLibvirt *self = act->backend;

    if (self) {
        self->act = NULL;
        if (act->action == SPICE_POWER_ACTION_PAUSE &&
            act->result != SPICE_POWER_RESULT_OK) {
            self->has_paused = FALSE;
        }
        if (self->acted) {
            answer(self, act->result, act->message);
        }
        /* there is an event as well, if something has changed */
        libvirt_refresh(&self->base);
    }
    g_free(act->message);
    g_free(act->id.name);
    g_free(act);
}

static gboolean act_timed_out(gpointer opaque)
{
    BackendLibvirt *self = opaque;
    g_autofree char *message = g_strdup_printf(
        "libvirt has not ended %s within %g seconds; it may yet be done",
        action_name(self->act->action),
        self->config->action_timeout_ms / 1000.0);

    self->act_timer = 0;
    answer(self, SPICE_POWER_RESULT_FAILED, message);
    /* and if that is not answered, nothing is */
    libvirt_refresh(&self->base);
    return G_SOURCE_REMOVE;
}

static void libvirt_action(Backend *backend, guint32 action, guint timeout_ms,
                           BackendResultFunc done, gpointer opaque)
{
    BackendLibvirt *self = (BackendLibvirt *)backend;
    Act *act;

    self->acted = done;
    self->acted_opaque = opaque;
    if (self->act) {
        answer_later(self, SPICE_POWER_RESULT_BUSY,
                     "An earlier action has not ended");
        return;
    }
    act = g_new0(Act, 1);
    act->backend = self;
    act->action = action;
    copy_id(&act->id, &self->id);
    if (!hypervisor_call(self->hypervisor, FALSE, act_run, act_done, act)) {
        g_free(act->id.name);
        g_free(act);
        answer_later(self, SPICE_POWER_RESULT_FAILED,
                     hypervisor_trouble(self->hypervisor));
        return;
    }
    self->act = act;
    self->has_paused = self->has_paused || action == SPICE_POWER_ACTION_PAUSE;
    self->act_timer = g_timeout_add(timeout_ms, act_timed_out, self);
}

/* ------------------------------------------------------------------------- */

static void libvirt_free(Backend *backend)
{
    BackendLibvirt *self = (BackendLibvirt *)backend;

    if (self->look) {
        self->look->backend = NULL;
    }
    if (self->reading) {
        self->reading->backend = NULL;
    }
    if (self->act) {
        self->act->backend = NULL;
    }
    g_clear_handle_id(&self->settle_timer, g_source_remove);
    g_clear_handle_id(&self->act_timer, g_source_remove);
    g_clear_handle_id(&self->answer_source, g_source_remove);
    g_free(self->answer_message);
    g_clear_pointer(&self->watch, hypervisor_unwatch);
    g_clear_pointer(&self->hypervisor, hypervisor_unref);
    g_free(self->id.name);
    g_free(self);
}

Backend *backend_libvirt_new(const MachineConfig *config)
{
    static const BackendMethods methods = {
        .supported = libvirt_supported,
        .watch = libvirt_watch,
        .watch_console = libvirt_watch_console,
        .attend = libvirt_attend,
        .refresh = libvirt_refresh,
        .tried = SPICE_POWER_ACTION_ON,
        .can_ask = libvirt_can_ask,
        .action = libvirt_action,
        .free = libvirt_free,
    };
    BackendLibvirt *self = g_new0(BackendLibvirt, 1);

    self->base.methods = &methods;
    self->config = config;
    self->id.name = g_strdup(config->libvirt_domain ?: config->name);
    return &self->base;
}
