/**
 * Members that do not keep to the rules: forged inner addresses, and traffic after they were put out. What they send is
 * dropped where it arrives, and counted.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { BuriDaemon } from '../../lab/buri.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { waitFor } from '../../lab/wait.ts';
import {
  counted,
  counters,
  HostileWorld,
  homePassword,
  reaches,
  virtualAddress,
} from '../support/hostile-world.ts';

const skip = labSkipReason();
/** How soon after an eviction was acknowledged nothing may pass any more. */
const evictedWithinMs = 1_000;

let world: HostileWorld;
let anna: BuriDaemon;
let bert: BuriDaemon;
let carol: BuriDaemon;
const ipv4 = { anna: '', bert: '', carol: '' };
const ipv6 = { anna: '', bert: '', carol: '' };

before(async () => {
  if (skip !== false) return;
  world = await HostileWorld.create();
  anna = await world.device('anna');
  bert = await world.device('bert');
  carol = await world.device('carol');
  await anna.verb('create', ['home', homePassword]);
  for (const daemon of [bert, carol]) await daemon.verb('join', ['home', homePassword]);
  for (const [name, daemon] of Object.entries({ anna, bert, carol })) {
    const key = name as keyof typeof ipv4;
    ipv4[key] = await virtualAddress(daemon);
    ipv6[key] = (await daemon.verb('status')).ipv6 ?? '';
  }
  await reaches(carol, ipv4.anna);
  await reaches(carol, ipv4.bert);
  await reaches(bert, ipv6.anna);
});

after(async () => await world?.[Symbol.asyncDispose]());

/** Echo requests with a source of one's choice; how many of 20 were answered. */
async function pingAs(source: string, target: string): Promise<number> {
  const length = source.includes(':') ? 128 : 32;
  const nodad = source.includes(':') ? ' nodad' : '';
  await carol.host.ip(`addr add ${source}/${length} dev buri0${nodad}`);
  const args = ['-n', '-c', '20', '-i', '0.02', '-W', '1', '-I', source, target];
  const { stdout } = await carol.host.run('ping', args);
  await carol.host.ip(`addr del ${source}/${length} dev buri0`);
  assert.match(stdout, /^20 packets transmitted/m);
  return Number(/(\d+) received/.exec(stdout)?.[1]);
}

describe('a member', { skip }, () => {
  test('that takes the address of another member is not heard, and it is counted', async () => {
    for (const [forged, target] of [
      [ipv4.bert, ipv4.anna],
      [ipv6.bert, ipv6.anna],
    ] as const) {
      let answered = 0;
      const bertHas = await counted(bert, async () => {
        const added = await counted(anna, async () => {
          answered = await pingAs(forged, target);
        });
        assert.equal(added('in-source-refused'), 20, `${forged} was refused each time`);
      });
      assert.equal(answered, 0);
      // Nor did anna answer the one whose address it is.
      assert.ok(bertHas('in-packets') < 10, `${bertHas('in-packets')} packets reached bert`);
    }
  });

  test('that takes an address of nobody, or of the world outside, is not heard', async () => {
    for (const forged of ['100.127.255.254', '198.51.100.1', '10.1.2.3']) {
      const added = await counted(anna, async () => {
        assert.equal(await pingAs(forged, ipv4.anna), 0);
      });
      assert.equal(added('in-source-refused'), 20, `${forged} was refused each time`);
    }
    assert.equal((await carol.host.ping(ipv4.anna)).received, 1, 'its own address is heard');
  });

  test('reaches nobody through another member', async () => {
    // Anna forwards, as a careless router would; her tunnel is for her own address only.
    await anna.host.sysctl({ 'net.ipv4.ip_forward': 1 });
    await carol.host.ip(`route add 198.51.100.1/32 via ${ipv4.anna} dev buri0`);
    const added = await counted(carol, async () => {
      assert.equal((await carol.host.ping('198.51.100.1', { timeoutMs: 500 })).received, 0);
    });
    assert.ok(added('out-no-peer') >= 1, 'no member has that address');
    await carol.host.ip(`route del 198.51.100.1/32 via ${ipv4.anna} dev buri0`);
    await anna.host.sysctl({ 'net.ipv4.ip_forward': 0 });
  });

  test('that was evicted, and does not hear it from the server, is refused within a second by everybody', async () => {
    // Its way to the server is cut: it keeps tunnels and keys.
    await carol.host.nft(`table inet deaf {
      chain output {
        type filter hook output priority filter; policy accept;
        ip daddr ${world.server.host.ipv4} drop
      }
      chain input {
        type filter hook input priority filter; policy accept;
        ip saddr ${world.server.host.ipv4} drop
      }
    }`);
    const pings = [ipv4.anna, ipv4.bert].map((target) =>
      carol.host.spawn('ping', ['-D', '-n', '-i', '0.05', '-W', '1', target]),
    );
    for (const ping of pings) await ping.line(/bytes from/);
    const annaBefore = await counters(anna);
    const bertBefore = await counters(bert);
    await anna.verb('evict', ['home', 'carol']);
    const evictedAt = Date.now() / 1000;
    // What must not come any more is given thrice the time.
    await new Promise((resolve) => setTimeout(resolve, 3 * evictedWithinMs));
    for (const ping of pings) {
      const answers = ping.lines.flatMap(
        (line) => /^\[([\d.]+)\].*bytes from/.exec(line)?.[1] ?? [],
      );
      const last = Number(answers.at(-1));
      assert.ok(last > evictedAt - 1, 'it was answered until then');
      assert.ok(
        last < evictedAt + evictedWithinMs / 1000,
        `answered ${(last - evictedAt).toFixed(2)} s after the eviction`,
      );
      await ping.stop('SIGINT');
    }
    // The others pass the revocation on to it, and an honest daemon believes it.
    const isTold = (await carol.verb('list')).networks.length === 0;
    for (const [daemon, before] of [
      [anna, annaBefore],
      [bert, bertBefore],
    ] as const) {
      const now = await counters(daemon);
      const refused = now['in-unknown-index']! - before['in-unknown-index']!;
      // Carol's own daemon soon doubts a path on which nothing comes back, and probes instead.
      assert.ok(isTold || refused >= 5, `${daemon.host.name} refused ${refused} packets`);
      const { networks } = await daemon.verb('list');
      assert.deepEqual(networks[0]?.members.map(({ nick }) => nick).sort(), ['anna', 'bert']);
    }
  });

  test('that was evicted gets no new session either, and learns it when it hears the server', async () => {
    const added = await counted(anna, async () => {
      await carol.stop('SIGKILL');
      // Fresh keys, from what it has on disk.
      carol = await world.restart(carol, false);
      assert.equal((await carol.host.ping(ipv4.anna, { count: 5, timeoutMs: 2000 })).received, 0);
    });
    assert.equal(added('session-sessions'), 0);
    await carol.host.nft('delete table inet deaf');
    await waitFor('carol to know', async () => (await carol.verb('list')).networks.length === 0, {
      timeoutMs: 30_000,
    });
    assert.equal((await bert.host.ping(ipv4.anna)).received, 1, 'the others go on');
  });
});
