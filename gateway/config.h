/*
 * The configuration file
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_CONFIG_H
#define GATEWAY_CONFIG_H

#include <glib.h>

#define CONFIG_ERROR config_error_quark()
GQuark config_error_quark(void);

typedef enum BackendType {
    BACKEND_EXEC,
    BACKEND_IPMI,
} BackendType;

typedef enum SourceType {
    SOURCE_NONE,                /* no picture */
    SOURCE_VNC,
} SourceType;

/* Of one machine; nothing changes once it is loaded */
typedef struct MachineConfig {
    char *path;                 /* of the file that this is from */
    char *name;                 /* the file's, for the log */

    /* [server] */
    char *title;                /* what clients show */
    char *address;
    int port;                   /* 0 is none, for the next one as well */
    int tls_port;
    char *unix_socket;
    char *ca_file;
    char *cert_file;
    char *key_file;
    char *ticket;               /* NULL: none is needed */
    char *websocket_origins;    /* NULL: what spice-server makes of that */
    gboolean many_clients;

    /* [power] */
    BackendType backend;
    guint32 actions;            /* SPICE_POWER_ACTION_ */
    gboolean actions_set;       /* by the administrator */
    guint poll_ms;
    guint query_timeout_ms;     /* for a program to end */
    guint action_timeout_ms;    /* for a request, until the host is there */

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
    char *ipmi_program;

    SourceType source;

    /* [vnc], for SOURCE_VNC */
    char *vnc_host;
    int vnc_port;
    char *vnc_socket;
    char *vnc_password;
    char *keyboard_layout;
} MachineConfig;

/*
 * The configuration of all machines: of one, if @path is a file.
 *
 * Returns: an array of MachineConfig, without those that are wrong. What is
 * wrong is added to @problems, as lines that name the file, the group and the
 * key.
 */
GPtrArray *config_load(const char *path, GPtrArray *problems);

void config_free(MachineConfig *config);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(MachineConfig, config_free)

#endif
