// SPDX-License-Identifier: LGPL-3.0-or-later
/* What the modules expect of a browser when they are loaded: import this first. */
globalThis.window ??= globalThis;
globalThis.navigator ??= { appName: 'node', userAgent: 'node' };
