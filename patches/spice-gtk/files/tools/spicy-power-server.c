/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What spicy-power is told of the server in other ways than by options: by a file for viewers,
 * by a file with a password, and by whoever sits at the terminal
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <gio/gio.h>
#include <glib/gstdio.h>
#ifdef G_OS_UNIX
#include <termios.h>
#include <unistd.h>
#else
#include <io.h>
#endif

#include "spicy-power-server.h"

/* The server's limit is far below */
#define MAX_LINE 1024

/* ------------------------------------------------------------------ */
/* a file for viewers, as virt-viewer(1) has it                       */

#define GROUP "virt-viewer"

static const struct {
    const char *key;
    const char *property;
} file_strings[] = {
    { "host", "host" },
    { "username", "username" },
    { "password", "password" },
    { "tls-ciphers", "ciphers" },
    { "host-subject", "cert-subject" },
    { "proxy", "proxy" },
};

gboolean server_is_file(const char *word)
{
    return g_str_has_suffix(word, ".vv");
}

static void set_port(SpiceSession *session, GKeyFile *file, const char *key)
{
    int number = g_key_file_get_integer(file, GROUP, key, NULL);

    /* -1 is that there is none */
    if (number > 0) {
        char *text = g_strdup_printf("%d", number);

        g_object_set(session, key, text, NULL);
        g_free(text);
    }
}

static gboolean set_from_file(SpiceSession *session, GKeyFile *file, GError **error)
{
    char *type = g_key_file_get_string(file, GROUP, "type", error);
    char *ca;
    char **secure;
    int i;

    if (type == NULL)
        return FALSE;
    if (strcmp(type, "spice") != 0) {
        g_set_error(error, G_KEY_FILE_ERROR, G_KEY_FILE_ERROR_INVALID_VALUE,
                    "it is for a viewer of type '%s', not of type 'spice'", type);
        g_free(type);
        return FALSE;
    }
    g_free(type);

    for (i = 0; i < G_N_ELEMENTS(file_strings); i++) {
        char *value = g_key_file_get_string(file, GROUP, file_strings[i].key, NULL);

        if (value)
            g_object_set(session, file_strings[i].property, value, NULL);
        g_free(value);
    }
    set_port(session, file, "port");
    set_port(session, file, "tls-port");
    ca = g_key_file_get_string(file, GROUP, "ca", NULL);
    if (ca) {
        GByteArray *bytes = g_byte_array_new_take((guint8 *)ca, strlen(ca));

        g_object_set(session, "ca", bytes, NULL);
        g_byte_array_unref(bytes);
    }
    secure = g_key_file_get_string_list(file, GROUP, "secure-channels", NULL, NULL);
    if (secure)
        g_object_set(session, "secure-channels", secure, NULL);
    g_strfreev(secure);

    return TRUE;
}

gboolean server_set_file(SpiceSession *session, const char *path, GError **error)
{
    GKeyFile *file = g_key_file_new();
    gboolean ok = g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, error) &&
                  set_from_file(session, file, error);

    /* what is in it can be used once, and is nobody else's business */
    if (ok && g_key_file_get_integer(file, GROUP, "delete-this-file", NULL) > 0 &&
        g_unlink(path) < 0) {
        g_printerr("%s: %s says that it is to be deleted, and can't be: %s\n", g_get_prgname(),
                   path, g_strerror(errno));
    }
    g_key_file_unref(file);
    g_prefix_error(error, "%s: ", path);

    return ok;
}

/* ------------------------------------------------------------------ */
/* a password                                                         */

/* A byte at a time: the rest of standard input is for others. NULL with errno if it fails, or
 * with 0 if there is no line. */
static char *read_line(int fd)
{
    GString *line = g_string_new(NULL);
    gssize n;
    char c;

    errno = 0;
    while ((n = read(fd, &c, 1)) == 1 && c != '\n' && line->len < MAX_LINE)
        g_string_append_c(line, c);
    if (n < 0 || (n == 0 && line->len == 0)) {
        g_string_free(line, TRUE);
        return NULL;
    }
    if (line->len > 0 && line->str[line->len - 1] == '\r')
        g_string_truncate(line, line->len - 1);

    return g_string_free(line, FALSE);
}

gboolean server_set_password_file(SpiceSession *session, const char *path, GError **error)
{
    gboolean is_stdin = strcmp(path, "-") == 0;
    int fd = is_stdin ? 0 : g_open(path, O_RDONLY, 0);
    char *password = fd < 0 ? NULL : read_line(fd);
    int read_errno = errno;

    if (fd > 0)
        close(fd);
    if (password == NULL) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(read_errno),
                    "no password in %s: %s", is_stdin ? "standard input" : path,
                    read_errno ? g_strerror(read_errno) : "it is empty");
        return FALSE;
    }
    g_object_set(session, "password", password, NULL);
    g_free(password);

    return TRUE;
}

#ifdef G_OS_UNIX

static void say(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) < 0) {
        /* nobody there, as reading will tell */
    }
}

/* NULL if there is no answer, or Ctrl-C */
static char *ask(int tty, const char *question, gboolean hidden)
{
    struct termios before, now;
    char *answer;

    if (tcgetattr(tty, &before) < 0)
        return NULL;
    now = before;
    /* what Ctrl-C would leave behind is a terminal that shows nothing */
    now.c_lflag &= ~ISIG;
    if (hidden)
        now.c_lflag &= ~ECHO;
    tcsetattr(tty, TCSAFLUSH, &now);
    say(tty, question);
    answer = read_line(tty);
    tcsetattr(tty, TCSAFLUSH, &before);
    if (hidden)
        say(tty, "\n");
    if (answer && strchr(answer, before.c_cc[VINTR]))
        g_clear_pointer(&answer, g_free);

    return answer;
}

static gboolean is_given(SpiceSession *session, const char *property)
{
    gboolean given;
    char *value;

    g_object_get(session, property, &value, NULL);
    given = value != NULL && *value != '\0';
    g_free(value);

    return given;
}

static gboolean ask_for(SpiceSession *session, int tty, const char *property,
                        const char *question, gboolean hidden)
{
    char *answer = ask(tty, question, hidden);

    if (answer == NULL)
        return FALSE;
    g_object_set(session, property, answer, NULL);
    g_free(answer);

    return TRUE;
}

gboolean server_ask(SpiceSession *session, const GError *refusal)
{
    gboolean name = g_error_matches(refusal, SPICE_CLIENT_ERROR,
                                    SPICE_CLIENT_ERROR_AUTH_NEEDS_USERNAME);
    gboolean password = g_error_matches(refusal, SPICE_CLIENT_ERROR,
                                        SPICE_CLIENT_ERROR_AUTH_NEEDS_PASSWORD);
    gboolean asked = FALSE;
    int tty;

    if (g_error_matches(refusal, SPICE_CLIENT_ERROR,
                        SPICE_CLIENT_ERROR_AUTH_NEEDS_PASSWORD_AND_USERNAME))
        name = password = TRUE;
    name = name && !is_given(session, "username");
    password = password && !is_given(session, "password");
    if (!name && !password)
        return FALSE;

    tty = g_open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC, 0);
    if (tty < 0)
        return FALSE;
    if (name)
        asked = ask_for(session, tty, "username", "User name: ", FALSE);
    if (password && (asked || !name))
        asked = ask_for(session, tty, "password", "Password: ", TRUE);
    close(tty);

    return asked;
}

#else

gboolean server_ask(SpiceSession *session, const GError *refusal)
{
    return FALSE;
}

#endif
