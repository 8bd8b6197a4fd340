/*
 * vvclient: commands of one stream, their answers, and what goes wrong
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "talk.h"

#define VV_MAX_ERRORS           20
#define VV_LOOK_US              (1 * G_USEC_PER_SEC)

/*
 * Errors
 */

void vv_errors_init(VVErrors *errors, VVGuest *g)
{
    memset(errors, 0, sizeof(*errors));
    errors->guest = g;
    errors->list = g_ptr_array_new_with_free_func(g_free);
}

void vv_errors_cleanup(VVErrors *errors)
{
    if (errors->list) {
        g_ptr_array_unref(errors->list);
    }
    error_free(errors->broken);
}

void vv_talk_init(VVTalk *t, VVErrors *errors, unsigned id, bool named)
{
    *t = (VVTalk) {
        .guest = errors->guest,
        .drv = errors->guest->driver,
        .errors = errors,
        .id = id,
        .prefix = named ? g_strdup_printf("stream %u", id) : NULL,
    };
}

void vv_talk_cleanup(VVTalk *t)
{
    g_free(t->prefix);
}

void vv_complain(VVTalk *t, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    if (t->errors->n++ >= VV_MAX_ERRORS) {
        return;
    }
    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_ptr_array_add(t->errors->list, t->prefix ?
                    g_strdup_printf("%s: %s", t->prefix, text) :
                    g_steal_pointer(&text));
}

static void G_GNUC_PRINTF(3, 0)
vv_set_broken(VVErrors *errors, const char *prefix, const char *fmt,
              va_list ap)
{
    g_autofree char *text = NULL;
    g_autofree char *log = NULL;

    if (errors->broken) {
        return;
    }
    text = g_strdup_vprintf(fmt, ap);
    log = vv_guest_log(errors->guest, NULL);
    error_setg(&errors->broken, "%s%s%s%s%s", prefix, text,
               log ? " (QEMU logged: " : "", log ?: "", log ? ")" : "");
}

bool vv_broken_device(VVErrors *errors, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vv_set_broken(errors, "", fmt, ap);
    va_end(ap);
    return false;
}

bool vv_broken_rule(VVTalk *t, const char *fmt, ...)
{
    g_autofree char *prefix = g_strdup_printf("stream %u: ", t->id);
    va_list ap;

    va_start(ap, fmt);
    vv_set_broken(t->errors, prefix, fmt, ap);
    va_end(ap);
    return false;
}

/*
 * Commands
 */

QVVEvent *vv_answer(VVTalk *t, uint32_t cookie, const char *what)
{
    g_autoptr(QVVEvent) ev = NULL;

    qvv_flush(t->drv);
    ev = qvv_wait_cookie(t->drv, cookie, VV_SILENCE_US);
    if (!ev) {
        vv_broken_rule(t, "no answer to %s", what);
        return NULL;
    }
    if (ev->malformed) {
        vv_broken_rule(t, "malformed answer to %s", what);
        return NULL;
    }
    return g_steal_pointer(&ev);
}

/* A stream error that is not handled yet, as it came while we waited */
static bool vv_is_failing(const VVTalk *t)
{
    for (GList *l = t->drv->stash.head; l; l = l->next) {
        const QVVEvent *ev = l->data;

        if (ev->stream == t->id &&
            ev->type == VIRTIO_VIDEO_CMD_STREAM_CLOSE &&
            (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_STANDALONE)) {
            return true;
        }
    }
    return false;
}

/*
 * A command of the negotiation was refused.  That is no news when the stream
 * has failed meanwhile: then nothing is reported here, and the stream error
 * will be, when its event is handled.
 */
void vv_was_refused(VVTalk *t, const QVVEvent *ev, const char *what)
{
    g_autofree char *text = qvv_event_str(ev);

    if (!vv_is_failing(t)) {
        vv_broken_rule(t, "%s was refused: %s", what, text);
    }
}

bool vv_do(VVTalk *t, uint32_t cookie, const char *what)
{
    g_autoptr(QVVEvent) ev = vv_answer(t, cookie, what);

    if (ev && vv_refused(ev)) {
        vv_was_refused(t, ev, what);
        return false;
    }
    return ev != NULL;
}

/* The id is free when the stream error has come, not before */
static bool vv_wait_failure(VVTalk *t)
{
    while (true) {
        g_autoptr(QVVEvent) ev = qvv_next_of(t->drv, t->id, VV_SILENCE_US);

        if (!ev) {
            return vv_broken_rule(t, "CLOSE was refused, and no stream error "
                                  "came");
        }
        if (ev->type == VIRTIO_VIDEO_CMD_STREAM_CLOSE &&
            (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_STANDALONE)) {
            vv_complain(t, "the device gave up at the end");
            return true;
        }
    }
}

bool vv_close(VVTalk *t)
{
    g_autoptr(QVVEvent) ev = NULL;

    vv_guest_note_stream(t->guest, t->id);
    ev = vv_answer(t, qvv_close(t->drv, t->id), "CLOSE");
    return ev && (!vv_refused(ev) || vv_wait_failure(t));
}

QVVEvent *vv_set(VVTalk *t, GByteArray *set, const char *what, bool *blocked)
{
    g_autoptr(QVVEvent) ev = NULL;

    ev = vv_answer(t, qvv_set_params(t->drv, t->id,
                                     VIRTIO_VIDEO_QUEUE_TYPE_MAIN, set), what);
    if (!ev) {
        return NULL;
    }
    if (vv_refused(ev) || !ev->has_params) {
        vv_was_refused(t, ev, what);
        return NULL;
    }
    if (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_BLOCKED) {
        *blocked = true;
    }
    return g_steal_pointer(&ev);
}

QVVEvent *vv_get(VVTalk *t, uint32_t container, uint32_t must,
                 const char *what)
{
    g_autoptr(QVVEvent) ev = NULL;

    ev = vv_answer(t, qvv_get_params(t->drv, t->id,
                                     VIRTIO_VIDEO_QUEUE_TYPE_MAIN, container),
                   what);
    if (!ev) {
        return NULL;
    }
    if (vv_refused(ev) || !ev->has_params ||
        (ev->params.present & must) != must) {
        vv_was_refused(t, ev, what);
        return NULL;
    }
    return g_steal_pointer(&ev);
}

bool vv_attach(VVTalk *t, uint32_t container, const QVVPool *pool,
               const char *what, bool *blocked)
{
    g_autoptr(GByteArray) set = qvv_set_new(container);
    g_autoptr(QVVEvent) ev = NULL;

    qvv_set_num_resources(set, pool->n);
    for (unsigned i = 0; i < pool->n; i++) {
        qvv_set_pages(set, &pool->res[i]);
    }
    ev = vv_set(t, set, what, blocked);
    if (ev && ev->params.num_resources != pool->n) {
        vv_broken_rule(t, "%s: %u instead of %u resources", what,
                       ev->params.num_resources, pool->n);
        return false;
    }
    return ev != NULL;
}

bool vv_unblock(VVTalk *t, bool blocked)
{
    return !blocked || vv_do(t, qvv_unblock(t->drv, t->id), "UNBLOCK");
}

QVVEvent *vv_patient_next(VVErrors *errors, int stream, unsigned unanswered)
{
    QVVDriver *drv = errors->guest->driver;
    int64_t end = g_get_monotonic_time() + VV_SILENCE_US;
    QVVEvent *ev = NULL;

    while (!ev && g_get_monotonic_time() < end) {
        ev = stream < 0 ? qvv_next(drv, VV_LOOK_US) :
                          qvv_next_of(drv, stream, VV_LOOK_US);
        if (!ev && qvv_is_broken(drv)) {
            g_autofree char *words = vv_guest_stderr(errors->guest);

            vv_broken_device(errors, "the device says that it is broken: %s",
                             words ?: "no reason given");
            return NULL;
        }
    }
    if (!ev) {
        vv_broken_device(errors, "the device has been silent for %u s with %u "
                         "commands unanswered",
                         (unsigned)(VV_SILENCE_US / G_USEC_PER_SEC),
                         unanswered);
    }
    return ev;
}
