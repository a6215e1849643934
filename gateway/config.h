/*
 * The configuration: a file for one machine, or a directory for many
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_CONFIG_H
#define GATEWAY_CONFIG_H

#include <glib.h>

#include "shared-port.h"

#define CONFIG_ERROR config_error_quark()
GQuark config_error_quark(void);

typedef enum BackendType {
    BACKEND_NONE,               /* no machine that is loaded has this */
    BACKEND_EXEC,
    BACKEND_IPMI,
    BACKEND_LIBVIRT,
    BACKEND_REDFISH,
} BackendType;

typedef enum SourceType {
    SOURCE_NONE,                /* no picture */
    SOURCE_VNC,
} SourceType;

/* Which password clients have to give */
typedef enum TicketType {
    TICKET_NONE,                /* or that of a file */
    TICKET_DOMAIN,              /* that of the domain's own SPICE server */
} TicketType;

/* Of one machine; but for machine_config_update() nothing changes any more */
typedef struct MachineConfig {
    char *path;                 /* of the file that it is in */
    char *name;
    gboolean has_shared_port;   /* clients come by the one for all, too */

    /* [machine] */
    char *template_name;        /* NULL: it has none */

    /* [server] */
    char *title;                /* what clients show */
    char *address;
    int port;                   /* 0 is none, for the next one as well */
    int tls_port;
    char *unix_socket;
    char *ca_file;
    char *cert_file;
    char *key_file;
    TicketType ticket_from;
    char *ticket;               /* NULL: none is needed, or not this one */
    char *power_ticket;         /* NULL: power control takes no other one */
    gboolean sasl;              /* clients give a name, and no ticket */
    char *hand_over_host;       /* NULL: where the domain listens */
    int hand_over_port;         /* 0: the domain's, for the next one as well */
    int hand_over_tls_port;
    char *websocket_origins;    /* NULL: what spice-server makes of that */
    gboolean many_clients;

    /* [power] */
    BackendType backend;
    guint32 actions;            /* SPICE_POWER_ACTION_ */
    gboolean actions_set;       /* by the administrator */
    guint poll_ms;              /* while somebody is there */
    guint idle_poll_ms;         /* while nobody is */
    guint query_timeout_ms;     /* for a program to end */
    guint action_timeout_ms;    /* for a request, until the host is there */
    gboolean without_video;     /* while one is carried out */

    /*
     * [rights]; patterns of users' names, NULL if there are none. If there are
     * none at all everybody may do what is configured.
     */
    char **rights_users;        /* who may do all */
    char **rights_reset;        /* who may do that, the others as well */
    char **rights_power_off;
    char **rights_power_on;
    char **rights_pause;
    char **rights_continue;

    /* [exec]; each an argument vector, NULL if there is none */
    char **exec_status;
    char **exec_reset;
    char **exec_power_off;
    char **exec_power_on;
    char **exec_pause;
    char **exec_continue;
    char **exec_watch;

    /* [ipmi] */
    char *ipmi_host;
    int ipmi_port;
    char *ipmi_user;
    char *ipmi_password_file;
    char *ipmi_interface;
    char *ipmi_privilege;
    char *ipmi_cipher_suite;
    char *ipmi_kg;              /* the key itself, which has no zero in it */
    char *ipmi_oem;
    char *ipmi_target_address;  /* these four are numbers, as text */
    char *ipmi_target_channel;
    char *ipmi_transit_address;
    char *ipmi_transit_channel;
    char *ipmi_reset;           /* what ipmitool calls it */
    char *ipmi_program;

    /* [libvirt] */
    char *libvirt_uri;
    char *libvirt_domain;       /* name or UUID; NULL: the machine's name */

    /* [redfish] */
    char *redfish_url;
    char *redfish_system;       /* id, name or UUID; NULL: the only one */
    char *redfish_user;         /* NULL: there is none, nor a password */
    char *redfish_password;
    char *redfish_authentication;
    gboolean redfish_is_basic;  /* what that means */
    char *redfish_ca_file;      /* NULL: the system's authorities */
    char *redfish_fingerprint;  /* of the only certificate that will do */
    gboolean redfish_events;

    SourceType source;

    /* [vnc], for SOURCE_VNC */
    char *vnc_host;
    int vnc_port;
    char *vnc_socket;
    char *vnc_url;              /* of a WebSocket, at host and port, or NULL */
    char *vnc_user;
    char *vnc_password;
    char *vnc_ca_file;
    char *vnc_fingerprint;      /* SHA-256, as vnc_is_fingerprint() takes it */
    gboolean vnc_anonymous_tls;
    char *vnc_authentication;
    gboolean vnc_has_session;   /* what that means: [redfish]'s, at vnc_url */
    char *vnc_token;            /* of that; only in the process that decodes */
    char *keyboard_layout;
} MachineConfig;

/* Whether they are the same, but for what can change while clients are there */
gboolean machine_config_equal(const MachineConfig *a, const MachineConfig *b);

/*
 * Change that, which is what the tickets are, and who has which rights, to what
 * is in @other, if these two are equal. Returns: whether there was a
 * difference; @other has what has been then
 */
gboolean machine_config_update(MachineConfig *config, MachineConfig *other);

/*
 * What the process that decodes its video has to know: the name and [vnc], and
 * nothing else; @token is that of a session, or NULL.
 *
 * Returns: of type a{sv}; caller unrefs it
 */
GVariant *config_pack_vnc(const MachineConfig *config, const char *token);
/* Returns: that again; caller calls machine_config_free() */
MachineConfig *config_unpack_vnc(GVariant *packed);

/* Whether it has a port or a socket of its own */
gboolean config_listens(const MachineConfig *config);
/* Whether who comes by the port for all machines has to come with TLS */
gboolean config_takes_tls(const MachineConfig *config);

/* @config may be NULL */
void machine_config_free(MachineConfig *config);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(MachineConfig, machine_config_free)

/* Of all domains of a hypervisor; nothing changes once it is loaded */
typedef struct HypervisorConfig HypervisorConfig;

const char *hypervisor_config_uri(const HypervisorConfig *hypervisor);

/*
 * One of its domains. Its machine has the domain's name if a machine may, else
 * its UUID is the name.
 *
 * Returns: NULL and @error if that can't be; caller calls
 * machine_config_free()
 */
MachineConfig *hypervisor_config_domain(const HypervisorConfig *hypervisor,
                                        const char *name, const char *uuid,
                                        GError **error);

/* The whole of it */
typedef struct Config {
    SharedPortConfig *port;     /* NULL: each machine has one of its own */
    GPtrArray *machines;        /* of MachineConfig, by name */
    GPtrArray *hypervisors;     /* of HypervisorConfig */
    char *metrics_socket;       /* a path; NULL: nobody is told numbers */
} Config;

/*
 * If @path is a file it's that of one machine. If it is a directory these are
 *
 *   gateway.conf               the port that all machines share
 *   machines/NAME.conf         one for each machine
 *   hypervisors/NAME.conf      one for each whose domains are machines
 *   templates/NAME.conf        for those that name it
 *   defaults.conf              for all
 *
 * For a machine the first of its own file, its template and the defaults that
 * has a key decides; the others need not be there.
 *
 * Returns: what there is, without what is wrong; caller calls config_free().
 * What is wrong is added to @problems, as lines that name the file, the group
 * and the key: the first thing that is wrong in each file.
 */
Config *config_load(const char *path, GPtrArray *problems);

/* @config may be NULL */
void config_free(Config *config);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Config, config_free)

#endif
