# SPDX-License-Identifier: GPL-2.0-or-later
"""What spice-endpoints consists of."""
