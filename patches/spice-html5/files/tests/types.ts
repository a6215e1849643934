// SPDX-License-Identifier: LGPL-3.0-or-later
/* A page in TypeScript: tsc must find right what is, and wrong what is said to be. */
import { PowerAction, PowerError, SessionError, SpiceSession } from '../session';
import { SpicePower } from '../power';

const session = new SpiceSession({
    uri: 'wss://host/machines/vm1',
    screen_id: 'screen',
    password: async ({ attempt }) => attempt > 3 ? null : 'secret',
    onswitchhost: ({ tlsPort }) => tlsPort ? `wss://host:${tlsPort}/` : undefined,
});
const other: SpiceSession = new SpiceSession({ uri: 'wss://host/', password: 'secret' });
const wanted: PowerAction = 'power-on';

session.addEventListener('change', () =>
{
    const why: SessionError | null = session.error;
    const usual: boolean = why?.name == 'denied' || session.connection == 'waiting';

    if (! usual && session.state == 'off' && session.possible.includes(wanted) && ! session.pending)
        session.power(wanted).then(({ message }) => message.length,
                                   (e: PowerError) => e.name == 'unknown');
});
session.connect();
other.close();

export function powered(power: SpicePower): Promise<{ message: string }>
{
    return power.request(power.allowed[0]);
}

// @ts-expect-error there is no such action
session.power('explode');
// @ts-expect-error nor such a state
session.state == 'asleep';
// @ts-expect-error which is the server's
session.state = 'off';
// @ts-expect-error it has to connect somewhere
new SpiceSession({ password: 'secret' });
// @ts-expect-error an option with another name
new SpiceSession({ uri: 'wss://host/', screen: 'screen' });
// @ts-expect-error it is for one machine
session.allowed.push('reset');
