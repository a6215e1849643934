/*
 * Which of a VNC server's ways to log in is taken
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_VNC_SECURITY_H
#define GATEWAY_VNC_SECURITY_H

#include "config.h"

/* As RFC 6143 and IANA's registry number them */
enum {
    VNC_SECURITY_NONE = 1,
    VNC_SECURITY_PASSWORD = 2,
    VNC_SECURITY_VENCRYPT = 19,
};

/* And those within VeNCrypt */
enum {
    VENCRYPT_TLS_NONE = 257,
    VENCRYPT_TLS_PASSWORD = 258,
    VENCRYPT_TLS_PLAIN = 259,
    VENCRYPT_X509_NONE = 260,
    VENCRYPT_X509_PASSWORD = 261,
    VENCRYPT_X509_PLAIN = 262,
};

/*
 * Of @count that the server offers, VNC_SECURITY_ or VENCRYPT_.
 *
 * Returns: 0 if there is none; @problem, for a person, is the caller's then
 */
guint vnc_choose_security(const MachineConfig *config, const guint32 *types,
                          guint count, char **problem);
guint vnc_choose_vencrypt(const MachineConfig *config, const guint32 *types,
                          guint count, char **problem);

/* Whether the server shows a certificate */
gboolean vencrypt_is_x509(guint type);

/* Fills @response in, for what is asked by VNC_SECURITY_PASSWORD */
void vnc_answer_challenge(const char *password, const guint8 challenge[16],
                          guint8 response[16]);

#endif
