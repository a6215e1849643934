/*
 * The connection to a hypervisor, by libvirt, for all of its machines
 *
 * libvirt's sockets and timers are on our main loop, by libvirt-glib. So what
 * it tells comes from there; but it may come from a thread that makes a call,
 * too. That is why it's always put into the main loop's queue, and a connection
 * that is lost may tell something when there is another one: see Link. To connect,
 * to make calls and to tell what happens are about that one thing, and stay
 * together.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gio/gio.h>
#include <libvirt-glib/libvirt-glib-event.h>
#include <libvirt/virterror.h>

#include "hypervisor.h"

/* The first wait before it's tried again, and the longest after many */
#define BACKOFF_MS     1000
#define BACKOFF_MAX_MS 60000
/*
 * A daemon that does not answer so many questions, with pauses, is lost. When
 * somebody is there, calls find that out sooner.
 */
#define KEEPALIVE_S     60
#define KEEPALIVE_COUNT 2
/* So is one that answers no quick call for so long */
#define SILENCE_MS 20000
/*
 * A process with an older libvirt may crash when several threads have calls of
 * one connection to a daemon under way (CVE-2024-4418)
 */
#define GOOD_LIBVIRT 11000000
/* Calls at a time */
#define QUICK_THREADS 1
#define SLOW_THREADS  3

/* What a connection's callbacks know; it lives as long as any of them */
typedef struct Link {
    gint references;
    /* for the main loop: NULL as soon as this is not its connection any more */
    Hypervisor *hypervisor;
    /*
     * Only one thread may use it at a time; others have connections of their
     * own, of which these are not in use
     */
    gboolean is_single;
    GAsyncQueue *spares;
    guint calls;                /* under way */
    gboolean is_closing;        /* when there are none, this is closed */
    virConnectPtr closing;
} Link;

struct Hypervisor {
    guint references;           /* calls have one, too */
    guint users;                /* without them it's not connected again */
    char *uri;

    virConnectPtr connection;   /* NULL if there is none */
    Link *link;                 /* the same */
    char *trouble;
    guint timer;
    guint backoff_ms;

    GList *watches;             /* all of them, for the connection */
    GList *watches_of_all;      /* domains */
    GHashTable *watches_of;     /* one domain, lists by UUID */
    /* Of this connection: threads of one that is lost may be stuck */
    GThreadPool *quick, *slow;
    guint quick_calls;          /* of this connection, that have not ended */
    guint silence_timer;
};

struct HypervisorWatch {
    Hypervisor *hypervisor;
    char *uuid;                 /* NULL: of all domains */
    const HypervisorEvents *events;
    gpointer opaque;
};

/* In the main loop's queue */
typedef struct Told {
    Link *link;
    char *name;                 /* of a domain; NULL: the connection is lost */
    char uuid[VIR_UUID_STRING_BUFLEN];
    gboolean may_be_gone;       /* that domain */
} Told;

typedef struct Call {
    Hypervisor *hypervisor;
    gboolean is_quick;
    Link *link;
    virConnectPtr connection;
    void (*run)(virConnectPtr connection, gpointer data);
    void (*done)(gpointer data);
    gpointer data;
} Call;

/* An attempt to connect; in its thread, then in the main loop */
typedef struct Attempt {
    Hypervisor *hypervisor;
    Link *link;
    virConnectPtr connection;
    char *trouble;
} Attempt;

static GHashTable *hypervisors; /* by URI */

static void release(Hypervisor *hypervisor);
static gboolean connect_now(gpointer opaque);

/* --- what libvirt tells, in any thread ----------------------------------- */

static Link *link_ref(Link *link)
{
    g_atomic_int_inc(&link->references);
    return link;
}

static void link_unref(gpointer opaque)
{
    Link *link = opaque;

    if (g_atomic_int_dec_and_test(&link->references)) {
        g_async_queue_unref(link->spares);
        g_free(link);
    }
}

static void told_free(gpointer opaque)
{
    Told *told = opaque;

    link_unref(told->link);
    g_free(told->name);
    g_free(told);
}

static gboolean tell(gpointer opaque);

static void told_later(Link *link, virDomainPtr domain, gboolean may_be_gone)
{
    Told *told = g_new0(Told, 1);

    told->link = link_ref(link);
    if (domain) {
        told->name = g_strdup(virDomainGetName(domain));
        virDomainGetUUIDString(domain, told->uuid);
        told->may_be_gone = may_be_gone;
    }
    g_idle_add_full(G_PRIORITY_DEFAULT, tell, told, told_free);
}

static void connection_closed(virConnectPtr connection, int reason,
                              void *opaque)
{
    told_later(opaque, NULL, FALSE);
}

static int domain_event(virConnectPtr connection, virDomainPtr domain,
                        int event, int detail, void *opaque)
{
    told_later(opaque, domain, event == VIR_DOMAIN_EVENT_UNDEFINED ||
                               event == VIR_DOMAIN_EVENT_STOPPED);
    return 0;
}

/* --- the connection ------------------------------------------------------ */

static void tell_connection(Hypervisor *hypervisor)
{
    /* A watch may end while it is told, but no other one does */
    GList *item = hypervisor->watches, *next;

    for (; item; item = next) {
        HypervisorWatch *watch = item->data;

        next = item->next;
        watch->events->connection(watch->opaque);
    }
}

static void tell_watches(GList *item, const Told *told)
{
    GList *next;

    for (; item; item = next) {
        HypervisorWatch *watch = item->data;

        next = item->next;
        watch->events->domain(told->name, told->uuid, told->may_be_gone,
                              watch->opaque);
    }
}

/* Who watches all may then end who watches this one, so that is told first */
static void tell_domain(Hypervisor *hypervisor, const Told *told)
{
    tell_watches(g_hash_table_lookup(hypervisor->watches_of, told->uuid),
                 told);
    tell_watches(hypervisor->watches_of_all, told);
}

/* Waits for the other side, or for a time limit of libvirt's */
static gpointer close_connections(gpointer opaque)
{
    Link *link = opaque;
    virConnectPtr spare;

    virConnectUnregisterCloseCallback(link->closing, connection_closed);
    virConnectClose(link->closing);
    while ((spare = g_async_queue_try_pop(link->spares))) {
        virConnectClose(spare);
    }
    link_unref(link);
    return NULL;
}

/* Not while a call is stuck: libvirt 9 does not survive that */
static void close_if_unused(Link *link)
{
    if (link->is_closing && !link->calls) {
        link->is_closing = FALSE;
        g_thread_unref(g_thread_new("libvirt-close", close_connections,
                                    link_ref(link)));
    }
}

static void drop_connection(virConnectPtr connection, Link *link)
{
    link->hypervisor = NULL;
    link->closing = connection;
    link->is_closing = connection != NULL;
    close_if_unused(link);
    link_unref(link);
}

static void forget_connection(Hypervisor *hypervisor)
{
    g_clear_handle_id(&hypervisor->silence_timer, g_source_remove);
    hypervisor->quick_calls = 0;
    /* what is under way goes on, and tells that it has ended */
    g_thread_pool_free(g_steal_pointer(&hypervisor->quick), FALSE, FALSE);
    g_thread_pool_free(g_steal_pointer(&hypervisor->slow), FALSE, FALSE);
    drop_connection(g_steal_pointer(&hypervisor->connection),
                    g_steal_pointer(&hypervisor->link));
}

static void call_run(gpointer data, gpointer unused);

static void keep_connection(Hypervisor *hypervisor, virConnectPtr connection,
                            Link *link)
{
    hypervisor->connection = connection;
    hypervisor->link = link;
    hypervisor->quick = g_thread_pool_new(call_run, NULL, QUICK_THREADS, FALSE,
                                          NULL);
    hypervisor->slow = g_thread_pool_new(call_run, NULL, SLOW_THREADS, FALSE,
                                         NULL);
}

static void set_trouble(Hypervisor *hypervisor, const char *trouble)
{
    if (g_strcmp0(trouble, hypervisor->trouble)) {
        if (trouble) {
            g_warning("%s", trouble);
        }
        g_free(hypervisor->trouble);
        hypervisor->trouble = g_strdup(trouble);
    }
}

static void connect_later(Hypervisor *hypervisor)
{
    hypervisor->timer = g_timeout_add(hypervisor->backoff_ms, connect_now,
                                      hypervisor);
    hypervisor->backoff_ms = MIN(2 * hypervisor->backoff_ms, BACKOFF_MAX_MS);
}

static void connection_lost(Hypervisor *hypervisor)
{
    g_autofree char *trouble = g_strdup_printf(
        "The connection to %s is lost", hypervisor->uri);

    forget_connection(hypervisor);
    set_trouble(hypervisor, trouble);
    hypervisor->backoff_ms = BACKOFF_MS;
    connect_later(hypervisor);
    tell_connection(hypervisor);
}

static gboolean tell(gpointer opaque)
{
    Told *told = opaque;
    Hypervisor *hypervisor = told->link->hypervisor;

    if (!hypervisor) {
        return G_SOURCE_REMOVE;
    }
    if (!hypervisor->connection) {
        /* It has just been made: all is looked at then, if it's still there */
        if (!told->name) {
            told->link->hypervisor = NULL;
        }
        return G_SOURCE_REMOVE;
    }
    hypervisor->references++;
    if (told->name) {
        tell_domain(hypervisor, told);
    } else {
        connection_lost(hypervisor);
    }
    release(hypervisor);
    return G_SOURCE_REMOVE;
}

static gboolean watch_domains(Attempt *attempt)
{
    int id = virConnectDomainEventRegisterAny(
        attempt->connection, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
        VIR_DOMAIN_EVENT_CALLBACK(domain_event), link_ref(attempt->link),
        link_unref);

    if (id < 0) {
        link_unref(attempt->link);
    }
    return id >= 0;
}

/* In a thread */
static void attempt_run(GTask *task, gpointer source, gpointer data,
                        GCancellable *cancellable)
{
    Attempt *attempt = data;
    gboolean is_daemon;
    unsigned long version;

    attempt->connection = virConnectOpen(attempt->hypervisor->uri);
    if (attempt->connection) {
        /* What is no daemon has none of these, and can't be lost */
        is_daemon = virConnectSetKeepAlive(attempt->connection, KEEPALIVE_S,
                                           KEEPALIVE_COUNT) == 0;
        attempt->link->is_single = is_daemon &&
                                   virGetVersion(&version, NULL, NULL) == 0 &&
                                   version < GOOD_LIBVIRT;
        if (virConnectRegisterCloseCallback(
                attempt->connection, connection_closed,
                link_ref(attempt->link), link_unref) < 0) {
            link_unref(attempt->link);
        }
    }
    if (!attempt->connection || !watch_domains(attempt)) {
        attempt->trouble = g_strdup_printf("No connection to %s: %s",
                                           attempt->hypervisor->uri,
                                           virGetLastErrorMessage());
    }
    g_task_return_boolean(task, TRUE);
}

static void attempt_done(GObject *source, GAsyncResult *result,
                         gpointer opaque)
{
    Attempt *attempt = opaque;
    Hypervisor *hypervisor = attempt->hypervisor;

    if (!attempt->trouble && !attempt->link->hypervisor) {
        attempt->trouble = g_strdup_printf("The connection to %s is lost",
                                           hypervisor->uri);
    }
    if (attempt->trouble || !hypervisor->users) {
        drop_connection(attempt->connection, attempt->link);
    } else {
        keep_connection(hypervisor, attempt->connection, attempt->link);
        hypervisor->backoff_ms = BACKOFF_MS;
        g_message("%s: connected", hypervisor->uri);
    }
    if (hypervisor->users) {
        set_trouble(hypervisor, attempt->trouble);
        if (attempt->trouble) {
            connect_later(hypervisor);
        }
        tell_connection(hypervisor);
    }
    g_free(attempt->trouble);
    g_free(attempt);
    release(hypervisor);
}

static gboolean connect_now(gpointer opaque)
{
    Hypervisor *hypervisor = opaque;
    Attempt *attempt = g_new0(Attempt, 1);
    g_autoptr(GTask) task = g_task_new(NULL, NULL, attempt_done, attempt);

    hypervisor->timer = 0;
    hypervisor->references++;
    attempt->hypervisor = hypervisor;
    attempt->link = g_new0(Link, 1);
    attempt->link->references = 1;
    attempt->link->spares = g_async_queue_new();
    attempt->link->hypervisor = hypervisor;
    g_task_set_task_data(task, attempt, NULL);
    g_task_run_in_thread(task, attempt_run);
    return G_SOURCE_REMOVE;
}

/* --- calls --------------------------------------------------------------- */

static gboolean is_silent(gpointer opaque)
{
    Hypervisor *hypervisor = opaque;

    hypervisor->silence_timer = 0;
    hypervisor->references++;
    connection_lost(hypervisor);
    release(hypervisor);
    return G_SOURCE_REMOVE;
}

/* As long as some end, there may be many */
static void expect_answer(Hypervisor *hypervisor)
{
    g_clear_handle_id(&hypervisor->silence_timer, g_source_remove);
    if (hypervisor->quick_calls) {
        hypervisor->silence_timer = g_timeout_add(SILENCE_MS, is_silent,
                                                  hypervisor);
    }
}

static gboolean call_done(gpointer opaque)
{
    Call *call = opaque;
    Hypervisor *hypervisor = call->hypervisor;

    if (call->is_quick && call->link == hypervisor->link) {
        hypervisor->quick_calls--;
        expect_answer(hypervisor);
    }
    call->link->calls--;
    close_if_unused(call->link);
    link_unref(call->link);
    call->done(call->data);
    release(call->hypervisor);
    g_free(call);
    return G_SOURCE_REMOVE;
}

/* To connect takes longer than most calls. Returns: NULL and libvirt's error */
static virConnectPtr take_spare(const Call *call)
{
    virConnectPtr spare;

    while ((spare = g_async_queue_try_pop(call->link->spares))) {
        if (virConnectIsAlive(spare) == 1) {
            return spare;
        }
        virConnectClose(spare);
    }
    virResetLastError();
    return virConnectOpen(call->hypervisor->uri);
}

/* In a thread */
static void call_run(gpointer data, gpointer unused)
{
    Call *call = data;

    virResetLastError();
    if (call->link->is_single && !call->is_quick) {
        virConnectPtr own = take_spare(call);

        call->run(own, call->data);
        if (own) {
            g_async_queue_push(call->link->spares, own);
        }
    } else {
        call->run(call->connection, call->data);
    }
    /* our reference; if it's the last one that waits for the other side */
    virConnectClose(call->connection);
    g_idle_add_full(G_PRIORITY_DEFAULT, call_done, call, NULL);
}

gboolean hypervisor_call(Hypervisor *hypervisor, gboolean is_quick,
                         void (*run)(virConnectPtr connection, gpointer data),
                         void (*done)(gpointer data), gpointer data)
{
    Call *call;

    if (!hypervisor->connection) {
        return FALSE;
    }
    call = g_new0(Call, 1);
    call->hypervisor = hypervisor;
    call->is_quick = is_quick;
    hypervisor->references++;
    call->connection = hypervisor->connection;
    virConnectRef(call->connection);
    call->link = link_ref(hypervisor->link);
    call->link->calls++;
    call->run = run;
    call->done = done;
    call->data = data;
    if (is_quick && !hypervisor->quick_calls++) {
        expect_answer(hypervisor);
    }
    g_thread_pool_push(is_quick ? hypervisor->quick : hypervisor->slow, call,
                       NULL);
    return TRUE;
}

/* ------------------------------------------------------------------------- */

/* What is an error is told to those whom it concerns */
static void ignore_error(void *opaque, virErrorPtr error)
{
}

static void init(void)
{
    hypervisors = g_hash_table_new(g_str_hash, g_str_equal);
    virInitialize();
    virSetErrorFunc(NULL, ignore_error);
    gvir_event_register();
}

Hypervisor *hypervisor_get(const char *uri)
{
    Hypervisor *hypervisor;

    if (!hypervisors) {
        init();
    }
    hypervisor = g_hash_table_lookup(hypervisors, uri);
    if (!hypervisor) {
        hypervisor = g_new0(Hypervisor, 1);
        hypervisor->uri = g_strdup(uri);
        hypervisor->trouble = g_strdup_printf(
            "There has been no connection to %s yet", uri);
        hypervisor->backoff_ms = BACKOFF_MS;
        hypervisor->watches_of = g_hash_table_new_full(g_str_hash, g_str_equal,
                                                       g_free, NULL);
        g_hash_table_insert(hypervisors, hypervisor->uri, hypervisor);
        connect_now(hypervisor);
    }
    hypervisor->users++;
    hypervisor->references++;
    return hypervisor;
}

static void release(Hypervisor *hypervisor)
{
    if (--hypervisor->references) {
        return;
    }
    g_assert(!hypervisor->watches && !hypervisor->connection);
    g_hash_table_unref(hypervisor->watches_of);
    g_free(hypervisor->trouble);
    g_free(hypervisor->uri);
    g_free(hypervisor);
}

void hypervisor_unref(Hypervisor *hypervisor)
{
    if (!--hypervisor->users) {
        g_hash_table_remove(hypervisors, hypervisor->uri);
        g_clear_handle_id(&hypervisor->timer, g_source_remove);
        if (hypervisor->connection) {
            forget_connection(hypervisor);
        }
    }
    release(hypervisor);
}

const char *hypervisor_trouble(const Hypervisor *hypervisor)
{
    return hypervisor->trouble;
}

/* The list of @watch->uuid is @list from now on */
static void set_watches(HypervisorWatch *watch, GList *list)
{
    GHashTable *lists = watch->hypervisor->watches_of;

    if (!watch->uuid) {
        watch->hypervisor->watches_of_all = list;
    } else if (list) {
        g_hash_table_insert(lists, g_strdup(watch->uuid), list);
    } else {
        g_hash_table_remove(lists, watch->uuid);
    }
}

static GList *get_watches(const HypervisorWatch *watch)
{
    return watch->uuid ? g_hash_table_lookup(watch->hypervisor->watches_of,
                                             watch->uuid)
                       : watch->hypervisor->watches_of_all;
}

HypervisorWatch *hypervisor_watch(Hypervisor *hypervisor, const char *uuid,
                                  const HypervisorEvents *events,
                                  gpointer opaque)
{
    HypervisorWatch *watch = g_new0(HypervisorWatch, 1);

    watch->hypervisor = hypervisor;
    watch->uuid = g_strdup(uuid);
    watch->events = events;
    watch->opaque = opaque;
    hypervisor->watches = g_list_prepend(hypervisor->watches, watch);
    set_watches(watch, g_list_prepend(get_watches(watch), watch));
    return watch;
}

void hypervisor_unwatch(HypervisorWatch *watch)
{
    watch->hypervisor->watches = g_list_remove(watch->hypervisor->watches,
                                               watch);
    set_watches(watch, g_list_remove(get_watches(watch), watch));
    g_free(watch->uuid);
    g_free(watch);
}
