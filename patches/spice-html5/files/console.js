// SPDX-License-Identifier: LGPL-3.0-or-later
/*----------------------------------------------------------------------------
**  console.js
**      The page console.html: a machine's screen, its power state, and buttons
**  for what can be done about it.
**
**      ?path=PATH      of the WebSocket, on the server that the page is from
**      ?title=NAME     of the machine, until the server tells it
**      ?control=1      only the buttons, without a screen: disturbs nobody
**
**  What comes from a server is shown as text, never as HTML.
**--------------------------------------------------------------------------*/
import { SpiceSession } from './session.js';
import { sendCtrlAltDel } from './main.js';
import { sendText } from './typing.js';

const STATES = {
    'unknown': 'Unknown',
    'off': 'Powered off',
    'on': 'Running',
    'paused': 'Paused',
    'suspended': 'Suspended',
    'crashed': 'Crashed',
};

/* In the order of the buttons. Those with a question ask first. */
const ACTIONS = {
    'pause': {
        doing: 'pausing…',
        failed: 'The machine was not paused',
        unknown: 'The machine may or may not have been paused',
    },
    'continue': {
        doing: 'resuming…',
        failed: 'The machine was not resumed',
        unknown: 'The machine may or may not have been resumed',
    },
    'reset': {
        doing: 'resetting…',
        failed: 'The machine was not reset',
        unknown: 'The machine may or may not have been reset',
        label: 'Force Reset',
        question: (name) => `Reset ${name}?`,
        detail: 'The machine starts again at once, without shutting down first. ' +
                'Unsaved work in it will be lost.',
    },
    'power-off': {
        doing: 'powering off…',
        failed: 'The machine was not powered off',
        unknown: 'The machine may or may not have been powered off',
        label: 'Force Off',
        question: (name) => `Power off ${name}?`,
        detail: 'The machine’s power is cut at once, without shutting down first. ' +
                'Unsaved work in it will be lost.',
    },
    'power-on': {
        doing: 'powering on…',
        failed: 'The machine was not powered on',
        unknown: 'The machine may or may not have been powered on',
    },
};

/* Powering on is what wakes up a machine that sleeps */
const WAKE_UP = {
    doing: 'waking up…',
    failed: 'The machine was not woken up',
    unknown: 'The machine may or may not have been woken up',
};

const $ = (id) => document.getElementById(id);
const params = new URLSearchParams(location.search);
const session = new SpiceSession({
    uri: websocket_uri(),
    screen_id: 'screen',
    control_only: params.get('control') == '1',
    take_focus: false,
    password: ask_ticket,
});

let asked = null;               // the action of the question that is open
let reset_time = '';            // when we have reset the machine, in its current state
let last_state = 'unknown';
let last_focus = null;          // what has the keyboard's focus, or had it
let return_to = null;           // what had it when it could not be used any more

/* Of the web server that the page is from, whatever the path: a link must not make a page
 * send a password elsewhere */
function websocket_uri()
{
    const [path, ...query] = (params.get('path') || 'websockify').split('?');
    const uri = new URL(location.href);

    uri.protocol = location.protocol == 'https:' ? 'wss:' : 'ws:';
    uri.pathname = path;
    uri.search = query.join('?');
    uri.hash = '';
    return uri.href;
}

/* Somebody else's page around this one could have its buttons pressed by people who see
 * something else */
function is_framed()
{
    try
    {
        return top.location.origin != location.origin;
    }
    catch (e)
    {
        return true;
    }
}

function machine_name()
{
    return session.name || params.get('title') || '';
}

/* With a name, or without one */
function named(prefix, suffix)
{
    const name = machine_name();

    return prefix + (name ? `“${name}”` : prefix ? 'the machine' : 'The machine') + suffix;
}

function words_of(action)
{
    return action == 'power-on' && session.state == 'suspended' ? WAKE_UP : ACTIONS[action];
}

function state_text()
{
    if (session.connection == 'connecting')
        return session.pending ? `Connecting, ${words_of(session.pending).doing}` : 'Connecting…';
    if (session.connection == 'waiting')
        return 'Waiting for the server…';
    if (session.connection != 'connected')
        return 'Not connected';
    if (! session.available)
        return 'Connected';

    const state = STATES[session.state];
    if (session.pending)
        return `${state}, ${words_of(session.pending).doing}`;
    if (session.allowed.length == 0)
        return `${state}, you may only watch`;
    if (reset_time)
        return `${state}, reset at ${reset_time}`;
    return state;
}

function set_text(element, text)
{
    /* a live region speaks when it changes */
    if (element.textContent != text)
        element.textContent = text;
}

function can(action)
{
    return session.possible.includes(action) && ! session.pending;
}

function update()
{
    const { connection, available, state, allowed } = session;
    const off = connection == 'connected' && available && state == 'off';
    const lost = connection == 'waiting' || connection == 'lost';

    if (state != last_state)
        reset_time = '';
    last_state = state;

    set_text($('machine'), machine_name() || 'Machine');
    set_text($('state'), state_text());
    document.title = `${machine_name() || 'Console'} – ${state_text()}`;
    document.documentElement.dataset.connection = connection;
    document.documentElement.dataset.state = state;

    for (const action of Object.keys(ACTIONS))
    {
        $(action).hidden = ! allowed.includes(action);
        $(action).disabled = ! can(action);
    }
    set_text($('power-on'), words_of('power-on') == WAKE_UP ? 'Wake Up' : 'Power On');
    $('power').hidden = allowed.length == 0;
    $('ctrl-alt-del').hidden = ! session.main || session.main.control_only;
    /* it keeps its place, so that nothing moves */
    $('ctrl-alt-del').disabled = off;
    $('keyboard').hidden = $('ctrl-alt-del').hidden;
    $('keyboard').disabled = off;

    $('off').hidden = ! off;
    set_text($('off-title'), named('', ' is powered off'));
    $('off-power-on').hidden = ! allowed.includes('power-on');
    $('off-power-on').disabled = ! can('power-on');
    $('off-watch').hidden = allowed.length != 0;

    $('lost').hidden = ! lost;
    set_text($('lost-title'), connection == 'waiting' ? 'Waiting for the server…'
                                                      : 'There is no connection');
    set_text($('lost-detail'), session.error ? session.error.message : '');
    $('lost-connect').hidden = connection != 'lost';

    const screen = connection == 'connected' && ! off && ! session.main.control_only;
    $('screen').hidden = ! screen;
    $('screen-hint').hidden = ! screen;

    /* what the question is about has gone */
    if (asked && ! can(asked))
        close_question();
    keep_focus();
}

/* A button that can't be used just now, or a screen that goes, must not leave who uses the
 * keyboard at the top of the page. Who has just pressed something is not led to something
 * else that can be pressed, but for the one thing that there is to do. */
function keep_focus()
{
    const usable = (element) => element && ! element.disabled &&
                                element.getClientRects().length > 0;

    if (document.querySelector('dialog[open]'))
        return;
    if (last_focus && ! usable(last_focus))
    {
        return_to = last_focus;
        $('state').focus();
    }
    if (return_to && document.activeElement == $('state') && ! session.pending)
    {
        const next = [return_to, $('off-power-on'), $('lost-connect')].find(usable);

        return_to = null;
        if (next)
            next.focus();
    }
}

function ask_ticket({ attempt })
{
    $('ticket-input').value = '';
    set_text($('ticket-wrong'), attempt > 1 ? 'The password is wrong' : '');
    $('ticket').showModal();
    return new Promise((resolve) =>
    {
        $('ticket').onclose = () => resolve($('ticket').returnValue == 'yes'
                                            ? $('ticket-input').value : null);
    }).finally(() => { $('ticket-input').value = ''; });
}

function ask(action)
{
    asked = action;
    set_text($('question-title'), ACTIONS[action].question(named(' ', '').trim()));
    set_text($('question-detail'), ACTIONS[action].detail);
    set_text($('question-yes'), ACTIONS[action].label);
    $('question').showModal();
}

function close_question()
{
    asked = null;
    $('question').close();
}

async function request(action)
{
    const words = words_of(action);

    hide_outcome();
    reset_time = '';
    try
    {
        await session.power(action);
        /* nothing else might show that it has happened */
        if (action == 'reset')
            reset_time = new Date().toLocaleTimeString();
    }
    catch (e)
    {
        set_text($('outcome-text'), e.name == 'unknown' ? words.unknown : words.failed);
        set_text($('outcome-detail'), e.message);
        $('outcome').hidden = false;
    }
    update();
}

function press(action)
{
    if (! can(action))
        return;
    if (ACTIONS[action].question)
        ask(action);
    else
        request(action);
}

function hide_outcome()
{
    $('outcome').hidden = true;
    set_text($('outcome-text'), '');
    set_text($('outcome-detail'), '');
}

for (const action of Object.keys(ACTIONS))
    $(action).addEventListener('click', () => press(action));
$('off-power-on').addEventListener('click', () => press('power-on'));
$('outcome-close').addEventListener('click', () =>
{
    hide_outcome();
    $('state').focus();
});
$('lost-connect').addEventListener('click', () => session.connect());
$('ctrl-alt-del').addEventListener('click', () => sendCtrlAltDel(session.main));

$('question-cancel').addEventListener('click', close_question);
/* this comes late: there may be another question by then */
$('question').addEventListener('close', () =>
{
    if (! $('question').open)
        asked = null;
});
$('question-yes').addEventListener('click', () =>
{
    const action = asked;

    /* it is on its way before the page is drawn anew */
    if (action && can(action))
        request(action);
    close_question();
});

$('ticket').addEventListener('cancel', () => { $('ticket').returnValue = ''; });
$('ticket-cancel').addEventListener('click', () => $('ticket').close(''));
$('ticket-form').addEventListener('submit', (e) =>
{
    e.preventDefault();
    $('ticket').close('yes');
});

/* A phone's keyboard comes to a field that has the focus. What becomes of the text in there is
 * typed: it may change words while they are written. There is always something to delete. */
const TO_DELETE = '_'.repeat(20);
const MAX_TYPED = 200;
let typed = '';

function begin_typing()
{
    $('typed').value = typed = TO_DELETE;
    $('typed').setSelectionRange(typed.length, typed.length);
}

function take_typed(e)
{
    const text = $('typed').value;
    let same = 0;

    while (same < typed.length && typed[same] == text[same])
        same++;
    /* what no key has typed cannot be deleted */
    const gone = typed.slice(same).replace(/[^\t\n -~]/g, '');
    sendText(session.main, '\b'.repeat(gone.length) + text.slice(same));
    typed = text;
    if (! e.isComposing && (text == '' || text.length > MAX_TYPED))
        begin_typing();
}

$('typed').addEventListener('input', take_typed);
$('typed').addEventListener('focus', () =>
{
    begin_typing();
    $('keyboard').setAttribute('aria-pressed', 'true');
});
$('typed').addEventListener('blur', () => $('keyboard').setAttribute('aria-pressed', 'false'));
/* the keyboard does not go before it is known what is wanted */
$('keyboard').addEventListener('mousedown', (e) => e.preventDefault());
$('keyboard').addEventListener('click', () =>
{
    if (document.activeElement == $('typed'))
        $('typed').blur();
    else
        $('typed').focus();
});

/* All keys are the guest's while the screen has the keyboard, but for this one */
$('screen').addEventListener('keydown', (e) =>
{
    if (e.key != 'F12' || ! e.shiftKey)
        return;
    e.preventDefault();
    e.stopPropagation();
    ($('power').querySelector('button:enabled:not([hidden])') || $('ctrl-alt-del')).focus();
}, true);

new MutationObserver(() =>
{
    const canvas = $('screen').querySelector('canvas:not([role])');

    if (! canvas)
        return;
    canvas.setAttribute('role', 'application');
    canvas.setAttribute('aria-label', named('Screen of ', ''));
    canvas.setAttribute('aria-describedby', 'screen-hint');
}).observe($('screen'), { childList: true });

document.addEventListener('focusin', (e) => { last_focus = e.target; });
/* A page that is left may be kept for who comes back. It must not keep a viewer's place. */
addEventListener('pagehide', () => session.close());
addEventListener('pageshow', (e) =>
{
    if (e.persisted && ! is_framed())
        session.connect();
});

session.addEventListener('change', update);
if (is_framed())
{
    $('lost').hidden = false;
    set_text($('lost-title'), 'This console is shown inside another site’s page');
    set_text($('lost-detail'), 'It does not connect there. Open it by itself.');
    $('lost-connect').hidden = true;
    set_text($('state'), 'Not connected');
}
else
    session.connect();
