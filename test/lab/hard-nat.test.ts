/**
 * Hard NATs with the real programs: a server that relays, and pairs of daemons behind routers for each way to come to a direct
 * path, and for those that have none.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { BuriServer } from '../../lab/buri.ts';
import { Home } from '../../lab/home.ts';
import { Internet } from '../../lab/internet.ts';
import { Lab } from '../../lab/lab.ts';
import { callDaemon } from '../../lab/local-api.ts';
import type { NatKind } from '../../lab/nat-kinds.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { waitFor } from '../../lab/wait.ts';
import { arrive, type Person } from '../support/people.ts';

async function sees(from: Person, to: Person) {
  const { path } = await callDaemon(from.daemon.socket, 'peer', { clientId: to.clientId });
  return path;
}

describe('behind hard NATs', { skip: labSkipReason() }, () => {
  let lab: Lab;
  let internet: Internet;
  let server: BuriServer;
  let pairs = 0;

  before(async () => {
    lab = await Lab.create();
    internet = await Internet.create(lab);
    server = await BuriServer.start(await internet.host('server'), { enrol: 'open' });
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
  });

  /** Two members behind two such NATs, who have just come to know each other. */
  async function meet(kinds: readonly [NatKind, NatKind]): Promise<readonly [Person, Person]> {
    const url = await server.url();
    const number = ++pairs;
    const people = kinds.map(async (nat, index) => {
      const home = await Home.create(internet, { name: `${'ab'[index]}${number}`, nat });
      const host = home.firstHost;
      return arrive(host.name, host, url);
    });
    const [a, b] = (await Promise.all(people)) as [Person, Person];
    const network = `pair${number}`;
    await callDaemon(a.daemon.socket, 'create', { network });
    await callDaemon(b.daemon.socket, 'join', { network });
    return [a, b];
  }

  async function becomesDirect([a, b]: readonly [Person, Person], timeoutMs: number) {
    const startedAt = performance.now();
    const seconds = () => ((performance.now() - startedAt) / 1000).toFixed(1);
    // What both told in the meantime, for a failure.
    const story: string[] = [];
    const texts: string[] = [];
    const [path] = await waitFor(
      'a direct path',
      async () => {
        const paths = [await sees(a, b), await sees(b, a)] as const;
        for (const [i, { kind, hardNat }] of paths.entries()) {
          const text = `${'ab'[i]}: ${kind}, ${hardNat?.replace(/[0-9]+ s$/, 'n s')}`;
          if (texts[i] !== text) story.push(`${seconds()} ${text}`);
          texts[i] = text;
        }
        assert.deepEqual(
          paths.map(({ kind }) => kind),
          ['direct', 'direct'],
          story.join('\n'),
        );
        return paths;
      },
      { timeoutMs },
    );
    const ping = await a.host.ping(b.ipv4, { count: 20 });
    assert.equal(ping.received, 20);
    console.log(story.join('\n'));
    return path;
  }

  const joined: readonly {
    readonly kinds: readonly [NatKind, NatKind];
    readonly by: RegExp | undefined;
  }[] = [
    { kinds: ['port-restricted', 'symmetric'], by: /at random/ },
    { kinds: ['port-restricted', 'symmetric-block'], by: /block of a NAT/ },
    { kinds: ['symmetric-sequential', 'port-restricted'], by: /counts/ },
    { kinds: ['symmetric-sequential', 'symmetric-sequential'], by: /counts/ },
    { kinds: ['address-restricted', 'symmetric'], by: undefined },
  ];
  for (const { kinds, by } of joined) {
    test(`${kinds.join(' and ')} are joined`, async () => {
      // A guess may miss: then the next attempt, or what the first one taught, joins them.
      const { hardNat } = await becomesDirect(await meet(kinds), 90_000);
      if (by === undefined) assert.equal(hardNat, undefined);
      else assert.match(hardNat ?? '', by);
    });
  }

  test('two that choose ports at random stay on the relay, with the reason', async () => {
    const [a, b] = await meet(['symmetric', 'symmetric']);
    const path = await waitFor(
      'the reason',
      async () => {
        const seen = await sees(a, b);
        return seen.kind === 'relayed' && seen.hardNat !== undefined ? seen : undefined;
      },
      { timeoutMs: 60_000 },
    );
    assert.match(path.hardNat ?? '', /not tried: both NATs choose a port/);
    const ping = await a.host.ping(b.ipv4, { count: 20 });
    assert.equal(ping.received, 20);
    assert.equal((await sees(b, a)).kind, 'relayed');
  });
});
