/*
 * What IPMI has room for, and needs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "config-ipmi.h"
#include "secret.h"

#define MAX_USER         16
#define MAX_PASSWORD     20     /* of IPMI 2.0 */
#define MAX_PASSWORD_LAN 16     /* of IPMI 1.5 */
#define MAX_KEY          20
/* Each is a log-in, which takes longer than that */
#define MIN_POLL_MS      100

/*
 * ipmitool takes as much of it as there is room for, and the BMC then says that
 * it is wrong. One that can't be read now is none of ours: ipmitool reads it.
 */
static gboolean check_password(const MachineConfig *c, GError **error)
{
    gsize most = strcmp(c->ipmi_interface, "lan") ? MAX_PASSWORD
                                                  : MAX_PASSWORD_LAN;
    g_autofree char *text = NULL;

    if (!g_file_test(c->ipmi_password_file, G_FILE_TEST_IS_REGULAR)) {
        g_set_error(error, CONFIG_ERROR, 0, "[ipmi] password-file: %s is no"
                    " file", c->ipmi_password_file);
        return FALSE;
    }
    secret_warn(c->ipmi_password_file);
    if (g_file_get_contents(c->ipmi_password_file, &text, NULL, NULL) &&
        strcspn(text, "\r\n\t") > most) {
        g_set_error(error, CONFIG_ERROR, 0, "[ipmi] password-file: the first"
                    " line of %s is longer than %" G_GSIZE_FORMAT " bytes,"
                    " which is all that there is room for with interface=%s",
                    c->ipmi_password_file, most, c->ipmi_interface);
        return FALSE;
    }
    return TRUE;
}

gboolean config_ipmi_check(const MachineConfig *c, GError **error)
{
    const char *problem = NULL;

    if (!c->ipmi_host) {
        problem = "host: there is none";
    } else if (c->ipmi_user && !c->ipmi_password_file) {
        problem = "password-file: there is none for the user";
    } else if (c->ipmi_user && strlen(c->ipmi_user) > MAX_USER) {
        problem = "user: a name has at most 16 bytes";
    } else if (c->ipmi_kg && !strcmp(c->ipmi_interface, "lan")) {
        problem = "kg-file: interface=lan has no such key";
    } else if ((c->ipmi_target_channel || c->ipmi_transit_address ||
                c->ipmi_transit_channel) && !c->ipmi_target_address) {
        problem = "target-address: there is none, though there is a way to it";
    }
    if (problem) {
        g_set_error(error, CONFIG_ERROR, 0, "[ipmi] %s", problem);
        return FALSE;
    }
    if (c->poll_ms < MIN_POLL_MS) {
        g_set_error(error, CONFIG_ERROR, 0, "[power] poll-interval: %g seconds"
                    " are too short for a BMC, use at least %g",
                    c->poll_ms / 1000.0, MIN_POLL_MS / 1000.0);
        return FALSE;
    }
    return !c->ipmi_password_file || check_password(c, error);
}

char *config_ipmi_key(const char *path, const char *line, GError **error)
{
    gboolean is_hex = g_str_has_prefix(line, "0x");
    gsize size = is_hex ? strlen(line + 2) / 2 : strlen(line), i;
    g_autofree char *key = is_hex ? g_malloc0(size + 1) : g_strdup(line);

    for (i = 0; is_hex && i < size; i++) {
        int high = g_ascii_xdigit_value(line[2 + 2 * i]);
        int low = g_ascii_xdigit_value(line[3 + 2 * i]);

        if (high < 0 || low < 0) {
            size = 0;
        } else {
            key[i] = high << 4 | low;
        }
    }
    if (is_hex && (!size || strlen(line) % 2)) {
        g_set_error(error, CONFIG_ERROR, 0, "%s: behind 0x there is no even"
                    " number of hexadecimal digits", path);
    } else if (size > MAX_KEY) {
        g_set_error(error, CONFIG_ERROR, 0, "%s: the key is longer than %d"
                    " bytes", path, MAX_KEY);
    } else if (strlen(key) < size) {
        g_set_error(error, CONFIG_ERROR, 0, "%s: the key has a byte 00 in it,"
                    " which ipmitool can't be given", path);
    } else {
        return g_steal_pointer(&key);
    }
    return NULL;
}
