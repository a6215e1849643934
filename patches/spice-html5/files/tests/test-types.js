// SPDX-License-Identifier: LGPL-3.0-or-later
/* The types say what there is, no less; of what is public, no more. */
import test from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import './browser.js';
import * as power from '../power.js';
import * as session from '../session.js';

const text = (name) => readFileSync(new URL(`../${name}`, import.meta.url), 'utf8');

/* { class: its members } */
function declared(name)
{
    return Object.fromEntries([...text(name).matchAll(/^export declare class (\w+) .*?^}/gms)].map(
        ([body, title]) => [title, [...body.matchAll(/^ {4}(?:readonly )?(\w+)[(:]/gm)]
                                       .map((m) => m[1]).sort()]));
}

/* What the methods of the library call each other by, and nobody else */
const INTERNAL = ['end', 'handle_result', 'handle_state', 'resume', 'suspend'];

const members = (type) => Object.getOwnPropertyNames(type.prototype)
                                .filter((name) => ! INTERNAL.includes(name)).sort();

for (const [name, module] of [['power', power], ['session', session]])
{
    test(`${name}.d.ts`, () =>
    {
        const types = declared(`${name}.d.ts`);
        assert.deepEqual(Object.keys(types).sort(), Object.keys(module).sort());
        for (const [title, there] of Object.entries(types))
        {
            const type = module[title];
            assert.deepEqual(there.filter((m) => ! (type.prototype instanceof Error && m == 'name')),
                             members(type).filter((m) => there.includes('constructor') ||
                                                         m != 'constructor'), title);
        }
    });
}

/* The names of errors, states and actions: each is in the code that it comes from */
test('names', () =>
{
    for (const name of ['power', 'session'])
    {
        const code = text(`${name}.js`);
        for (const [, union] of text(`${name}.d.ts`).matchAll(/^export type \w+ =\s*([^;]+);/gm))
        {
            for (const [, word] of union.matchAll(/'([\w-]+)'/g))
                assert.ok(code.includes(`'${word}'`), `${name}.js has no '${word}'`);
        }
    }
});

test('options', () =>
{
    const body = text('session.d.ts').match(/^export interface SessionOptions .*?^}/ms)[0];
    const code = text('session.js');
    const options = [...body.matchAll(/^ {4}(\w+)\??:/gm)].map((m) => m[1]);
    assert.ok(options.length > 5);
    for (const option of options)
        assert.match(code, new RegExp(`#options\\.${option}\\b|\\b${option},|${option}: `));
});

const tsc = (...args) => spawnSync('tsc', args, { cwd: new URL('.', import.meta.url),
                                                  encoding: 'utf8' });
const skip = tsc('--version').error && 'there is no tsc';

test('a page in TypeScript', { skip }, () =>
{
    assert.equal(tsc('--noEmit', '--strict', '--target', 'es2020', 'types.ts').stdout, '');
});
