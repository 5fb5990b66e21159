/**
 *   server (no relay)   vera: an open port     otto: another network
 *          ║                  ║                     ║
 *   ═════════════════════ Internet ═════════════════════
 *              ║                            ║
 *        symmetric NAT                symmetric NAT
 *              │                            │
 *            anna                         bert            vera relays for them, beside her daemon
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { BuriServer, buriProgram } from '../../lab/buri.ts';
import { Home } from '../../lab/home.ts';
import { Internet } from '../../lab/internet.ts';
import { Lab } from '../../lab/lab.ts';
import { labSkipReason } from '../../lab/needs.ts';
import type { LabProcess } from '../../lab/process.ts';
import { waitFor } from '../../lab/wait.ts';
import { arrive, type Person, pathTo } from '../support/people.ts';

const password = 'one private LAN';

const held = async ({ daemon }: Person) => (await daemon.verb('status')).relays ?? [];

describe('a member that volunteers as a relay', { skip: labSkipReason() }, () => {
  let lab: Lab;
  let [anna, bert, vera, otto]: Person[] = [];
  let relay: LabProcess;

  const volunteer = async (): Promise<LabProcess> => {
    const data = lab.temporaryDirectory('volunteer');
    const args = ['relay', '--socket', vera!.daemon.socket, '--data', data];
    const process = vera!.host.spawn(buriProgram, args, { name: 'the volunteer' });
    await process.line(/"state":"listed"/, { timeoutMs: 60_000 });
    return process;
  };
  const talk = async (timeoutMs: number) => {
    await waitFor(
      'packets to pass',
      async () => (await anna!.host.ping(bert!.ipv4, { count: 1 })).received === 1,
      { timeoutMs },
    );
  };

  before(async () => {
    lab = await Lab.create();
    const internet = await Internet.create(lab);
    const args = ['--roles', 'control,stun', '--grace', '5'];
    const server = await BuriServer.start(await internet.host('server'), { enrol: 'open', args });
    const url = await server.url();
    const homes = await Promise.all(
      ['anna', 'bert'].map((name) => Home.create(internet, { name, nat: 'symmetric' })),
    );
    vera = await arrive('vera', await internet.host('vera'), url);
    await vera.daemon.verb('create', ['home', '-'], `${password}\n`);
    relay = await volunteer();
    otto = await arrive('otto', await internet.host('otto'), url);
    await otto.daemon.verb('create', ['elsewhere', '-'], `${password}\n`);
    anna = await arrive('anna', homes[0]!.firstHost, url);
    bert = await arrive('bert', homes[1]!.firstHost, url);
    for (const { daemon } of [anna, bert]) {
      await daemon.verb('join', ['home', '-'], `${password}\n`);
    }
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
  });

  test('carries what two members behind symmetric NATs say to each other', async () => {
    await talk(40_000);
    const path = await pathTo(anna!, bert!);
    assert.equal(path?.kind, 'relayed');
    assert.equal(path?.endpoint?.split(':')[0], vera!.host.ipv4);
    assert.equal((await anna!.host.ping(bert!.ipv4, { count: 20 })).received, 20);
  });

  test('is nothing that others hear of', async () => {
    assert.equal((await held(anna!)).length, 1);
    assert.deepEqual(await held(otto!), []);
  });

  test('is missed when it stops, with the reason said, and used again when it is back', async () => {
    await relay.stop('SIGTERM');
    await waitFor('the relay to be off the lists', async () => (await held(anna!)).length === 0, {
      timeoutMs: 30_000,
    });
    await waitFor(
      'the reason',
      async () => (await pathTo(anna!, bert!))?.reason?.includes('symmetric') === true,
      { timeoutMs: 30_000 },
    );
    relay = await volunteer();
    await talk(40_000);
    assert.equal((await pathTo(anna!, bert!))?.kind, 'relayed');
  });
});
