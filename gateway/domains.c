/*
 * Which domains a hypervisor has
 *
 * All are listed when there is a connection, and afterwards each event is about
 * one. An answer of libvirt's may be older than an event that has come before
 * it: what it says of a domain to which something has happened since it was
 * asked for is not believed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <libvirt/virterror.h>
#include <stdlib.h>

#include "domains.h"
#include "hypervisor.h"

struct Domains {
    Hypervisor *hypervisor;
    HypervisorWatch *watch;
    const DomainsEvents *events;
    gpointer opaque;
    GHashTable *names;          /* by UUID, of those that are there */
    GPtrArray *questions;       /* of Question: those under way */
};

/* A call of libvirt's */
typedef struct Question {
    Domains *domains;           /* NULL: nobody waits for the answer */
    char *uuid;                 /* of the one that is asked for; NULL: all */
    GHashTable *changed;        /* UUIDs: what happened since it was asked */
    GHashTable *found;          /* names by UUID */
    gboolean failed;            /* and nothing can be said */
} Question;

/* --- in a thread --------------------------------------------------------- */

static void note(Question *question, virDomainPtr domain)
{
    char uuid[VIR_UUID_STRING_BUFLEN];

    if (virDomainGetUUIDString(domain, uuid) == 0) {
        g_hash_table_insert(question->found, g_strdup(uuid),
                            g_strdup(virDomainGetName(domain)));
    }
    virDomainFree(domain);
}

static void list_run(virConnectPtr connection, gpointer data)
{
    Question *question = data;
    virDomainPtr *list = NULL;
    int i, count = connection
                   ? virConnectListAllDomains(connection, &list, 0) : -1;

    question->failed = count < 0;
    for (i = 0; i < count; i++) {
        note(question, list[i]);
    }
    free(list);
}

static void find_run(virConnectPtr connection, gpointer data)
{
    Question *question = data;
    virDomainPtr domain = connection
        ? virDomainLookupByUUIDString(connection, question->uuid) : NULL;

    if (domain) {
        note(question, domain);
    } else {
        question->failed = virGetLastErrorCode() != VIR_ERR_NO_DOMAIN;
    }
}

/* ------------------------------------------------------------------------- */

static void set_there(Domains *self, const char *uuid, const char *name)
{
    const char *known = g_hash_table_lookup(self->names, uuid);

    if (g_strcmp0(known, name)) {
        g_hash_table_insert(self->names, g_strdup(uuid), g_strdup(name));
        self->events->appeared(uuid, name, self->opaque);
    }
}

static void set_gone(Domains *self, const char *uuid)
{
    if (g_hash_table_remove(self->names, uuid)) {
        self->events->gone(uuid, self->opaque);
    }
}

static void believe(Domains *self, const Question *question)
{
    GHashTableIter iter;
    gpointer uuid, name;
    g_autoptr(GPtrArray) gone = g_ptr_array_new_with_free_func(g_free);
    guint i;

    g_hash_table_iter_init(&iter, question->found);
    while (g_hash_table_iter_next(&iter, &uuid, &name)) {
        if (!g_hash_table_contains(question->changed, uuid)) {
            set_there(self, uuid, name);
        }
    }
    g_hash_table_iter_init(&iter, self->names);
    while (g_hash_table_iter_next(&iter, &uuid, NULL)) {
        if ((!question->uuid || !g_strcmp0(question->uuid, uuid)) &&
            !g_hash_table_contains(question->found, uuid) &&
            !g_hash_table_contains(question->changed, uuid)) {
            g_ptr_array_add(gone, g_strdup(uuid));
        }
    }
    for (i = 0; i < gone->len; i++) {
        set_gone(self, gone->pdata[i]);
    }
}

static void answered(gpointer data)
{
    Question *question = data;
    Domains *self = question->domains;

    if (self) {
        g_ptr_array_remove_fast(self->questions, question);
        if (!question->failed) {
            believe(self, question);
        }
    }
    g_hash_table_unref(question->changed);
    g_hash_table_unref(question->found);
    g_free(question->uuid);
    g_free(question);
}

static void ask(Domains *self, const char *uuid)
{
    Question *question = g_new0(Question, 1);

    question->domains = self;
    question->uuid = g_strdup(uuid);
    question->changed = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                              NULL);
    question->found = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                            g_free);
    g_ptr_array_add(self->questions, question);
    if (!hypervisor_call(self->hypervisor, TRUE, uuid ? find_run : list_run,
                         answered, question)) {
        question->failed = TRUE;
        answered(question);     /* when there is a connection all are listed */
    }
}

static void connection_changed(gpointer opaque)
{
    Domains *self = opaque;

    if (!hypervisor_trouble(self->hypervisor)) {
        ask(self, NULL);
    }
}

static void domain_changed(const char *name, const char *uuid,
                           gboolean may_be_gone, gpointer opaque)
{
    Domains *self = opaque;
    guint i;

    for (i = 0; i < self->questions->len; i++) {
        const Question *question = self->questions->pdata[i];

        g_hash_table_add(question->changed, g_strdup(uuid));
    }
    if (may_be_gone) {
        ask(self, uuid);
    } else {
        set_there(self, uuid, name);
    }
}

Domains *domains_new(const char *uri, const DomainsEvents *events,
                     gpointer opaque)
{
    static const HypervisorEvents hypervisor_events = {
        .connection = connection_changed,
        .domain = domain_changed,
    };
    Domains *self = g_new0(Domains, 1);

    self->events = events;
    self->opaque = opaque;
    self->names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                        g_free);
    self->questions = g_ptr_array_new();
    self->hypervisor = hypervisor_get(uri);
    self->watch = hypervisor_watch(self->hypervisor, NULL, &hypervisor_events,
                                   self);
    connection_changed(self);
    return self;
}

void domains_free(Domains *self)
{
    guint i;

    for (i = 0; i < self->questions->len; i++) {
        ((Question *)self->questions->pdata[i])->domains = NULL;
    }
    hypervisor_unwatch(self->watch);
    hypervisor_unref(self->hypervisor);
    g_ptr_array_unref(self->questions);
    g_hash_table_unref(self->names);
    g_free(self);
}
