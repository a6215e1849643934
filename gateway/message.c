/*
 * A message where a picture should be
 *
 * This is drawn with what cairo calls its toy interface: a few lines of text
 * are all that there is. It needs a font for anything but ASCII, for which
 * cairo has one of its own; Pango, which would break the lines, draws empty
 * boxes then.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <cairo.h>
#include <string.h>

#include "message.h"

#define BACKGROUND 0.18
#define FOREGROUND 0.9
/* Some texts come from the VNC server; this is more than what can be read */
#define MAX_TEXT   1000

static double text_width(cairo_t *cairo, const char *text, gsize size)
{
    g_autofree char *part = g_strndup(text, size);
    cairo_text_extents_t extents;

    cairo_text_extents(cairo, part, &extents);
    return extents.x_advance;
}

/* Returns: where a line that begins at @text ends, after a word if possible */
static const char *line_end(cairo_t *cairo, const char *text, double width)
{
    const char *end = text, *word_end = NULL, *next;

    for (; *end && *end != '\n'; end = next) {
        if (*end == ' ') {
            word_end = end;
        }
        next = g_utf8_next_char(end);
        if (end > text && text_width(cairo, text, next - text) > width) {
            return word_end ?: end;
        }
    }
    return end;
}

/* Returns: where the next lines begin */
static double draw_lines(cairo_t *cairo, const char *text, double x, double y,
                         double width, double bottom)
{
    g_autofree char *valid = g_utf8_make_valid(text, strnlen(text, MAX_TEXT));
    const char *start = valid, *end;
    cairo_font_extents_t font;

    cairo_font_extents(cairo, &font);
    for (; *start && y + font.height <= bottom; start = end) {
        g_autofree char *line = NULL;

        end = line_end(cairo, start, width);
        line = g_strndup(start, end - start);
        cairo_move_to(cairo,
                      x + (width - text_width(cairo, line, end - start)) / 2,
                      y + font.ascent);
        cairo_show_text(cairo, line);
        y += font.height;
        if (*end == '\n') {
            end++;
        } else {
            end += strspn(end, " ");
        }
    }
    return y;
}

void message_draw(Picture *picture, const char *title, const char *text)
{
    int width = picture->width, height = picture->height;
    double size = CLAMP(width / 40.0, 10, 32), margin = size;
    double y = height / 3.0;
    cairo_surface_t *surface =
        cairo_image_surface_create_for_data((guint8 *)picture->pixels,
                                            CAIRO_FORMAT_RGB24, width, height,
                                            width * 4);
    cairo_t *cairo = cairo_create(surface);
    cairo_font_options_t *options = cairo_font_options_create();

    cairo_set_source_rgb(cairo, BACKGROUND, BACKGROUND, BACKGROUND);
    cairo_paint(cairo);
    cairo_set_source_rgb(cairo, FOREGROUND, FOREGROUND, FOREGROUND);

    /* It's not known what screen it is for */
    cairo_font_options_set_antialias(options, CAIRO_ANTIALIAS_GRAY);
    cairo_set_font_options(cairo, options);
    cairo_font_options_destroy(options);

    cairo_select_font_face(cairo, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           CAIRO_FONT_WEIGHT_BOLD);
    cairo_set_font_size(cairo, 1.5 * size);
    y = draw_lines(cairo, title, margin, y, width - 2 * margin, height);
    cairo_select_font_face(cairo, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cairo, size);
    draw_lines(cairo, text, margin, y + size, width - 2 * margin, height);

    cairo_destroy(cairo);
    cairo_surface_destroy(surface);
}
