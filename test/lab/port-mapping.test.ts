/** Members behind routers that map ports are reached though no NAT between them allows a hole to be punched. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BuriDaemon, BuriServer, type DaemonOptions } from '../../lab/buri.ts';
import { Home } from '../../lab/home.ts';
import type { Host } from '../../lab/host.ts';
import { Internet } from '../../lab/internet.ts';
import { Lab } from '../../lab/lab.ts';
import type { MappingProtocol } from '../../lab/nat-kinds.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { mappablePrefix, portMappingSkipReason, withPortMapping } from '../../lab/port-mapping.ts';
import { waitFor } from '../../lab/wait.ts';

/** Machines that run many tests at once are slow; nothing here waits for time alone. */
const patience = { timeoutMs: 60_000, intervalMs: 250 };
/** Longer than a client takes to notice a restart that nobody told it of. */
const restartPatience = { timeoutMs: 120_000, intervalMs: 500 };

const skip = labSkipReason() || portMappingSkipReason();

/**
 *   anna ── router with miniupnpd, symmetric ──┐
 *                                              ├── Internet ── server
 *   bert ── router, symmetric ─────────────────┘
 */
async function build(lab: Lab, { ipv6 = false } = {}) {
  const internet = await Internet.create(lab, { routerPrefix: mappablePrefix });
  const server = await BuriServer.start(await internet.host('server'), { enrol: 'open' });
  const home = await Home.create(internet, { name: 'anna', nat: 'symmetric', ipv6 });
  const other = await Home.create(internet, { name: 'bert', nat: 'symmetric' });
  return { server, home, other };
}

async function login(host: Host, server: BuriServer, nick: string, options: DaemonOptions = {}) {
  const daemon = await BuriDaemon.start(host, options);
  await daemon.verb('login', [await server.url(), '--nick', nick, '--wait', '90']);
  return daemon;
}

const portMappingOf = async (daemon: BuriDaemon) => (await daemon.verb('status')).portMapping;

const mapped = (daemon: BuriDaemon) =>
  waitFor(
    'a mapped port',
    async () => {
      const mapping = await portMappingOf(daemon);
      return mapping.external !== null && mapping;
    },
    patience,
  );

/** Not over a relay, which the two have first. */
const direct = (daemon: BuriDaemon, peer: string) =>
  waitFor(
    `a direct path to ${peer}`,
    async () => {
      const { networks } = await daemon.verb('list');
      const entry = networks[0]?.members.find(({ nick }) => nick === peer);
      return entry?.path.kind === 'direct' ? entry : undefined;
    },
    patience,
  );

describe('a router that maps ports', { skip }, () => {
  for (const protocol of ['pcp', 'nat-pmp', 'upnp'] as const satisfies MappingProtocol[]) {
    test(`by ${protocol} alone makes its member reachable from behind a symmetric NAT`, async () => {
      await using lab = await Lab.create();
      const { server, home, other } = await build(lab);
      await using gateway = await withPortMapping(home, [protocol]);
      const anna = await login(home.firstHost, server, 'anna');
      const mapping = await mapped(anna);
      const { port } = await anna.verb('status');
      assert.equal(mapping.protocol, protocol);
      assert.equal(mapping.external, `${home.publicIpv4}:${port}`);
      assert.ok(await gateway.maps(port!), await gateway.rules());

      const bert = await login(other.firstHost, server, 'bert');
      await anna.verb('create', ['home', 'password']);
      await bert.verb('join', ['home', 'password', '--wait', '90']);
      const seen = await direct(bert, 'anna');
      assert.equal(seen.path.endpoint, mapping.external);
      const ping = () => other.firstHost.ping(seen.ipv4, { count: 3 });
      await waitFor('pings', async () => (await ping()).received === 3, patience);

      await anna.stop();
      assert.equal(await gateway.maps(port!), false, 'removed at the end');
    });
  }

  test('is asked again before a lifetime ends', async () => {
    await using lab = await Lab.create();
    const { server, home } = await build(lab);
    await using _ = await withPortMapping(home, ['pcp'], { maxLifetimeSeconds: 24 });
    const anna = await login(home.firstHost, server, 'anna');
    const first = await mapped(anna);
    assert.equal(first.lifetimeSeconds, 24);
    let last = first.renewInSeconds!;
    await waitFor(
      'a renewal at half the lifetime',
      async () => {
        const { renewInSeconds, external } = await portMappingOf(anna);
        assert.equal(external, first.external);
        const isRenewed = renewInSeconds! > last;
        last = renewInSeconds!;
        return isRenewed;
      },
      patience,
    );
  });

  test('that speaks everything is asked by PCP, also after it restarted or we did', async () => {
    await using lab = await Lab.create();
    const { server, home } = await build(lab);
    await using gateway = await withPortMapping(home, ['pcp', 'nat-pmp', 'upnp']);
    const anna = await login(home.firstHost, server, 'anna');
    const mapping = await waitFor(
      'all protocols to be found',
      async () => {
        const now = await portMappingOf(anna);
        const { pcp, natPmp, upnp } = now;
        return [pcp, natPmp, upnp].every(({ state }) => /found|mapped/.test(state)) && now;
      },
      patience,
    );
    assert.equal(mapping.protocol, 'pcp');
    assert.equal(mapping.pcp.state, 'mapped');
    const { port } = await anna.verb('status');
    await gateway.reboot();
    await waitFor('the mapping to come back', () => gateway.maps(port!), restartPatience);
    // After kill -9 the same port is had again, though the gateway guards it by a nonce.
    await anna.stop('SIGKILL');
    const again = await BuriDaemon.start(home.firstHost, { directory: anna.directory });
    assert.equal((await mapped(again)).protocol, 'pcp');
    await again.verb('logout');
    assert.equal(await gateway.maps(port!), false, 'a logout gives it back');
  });

  test('by PCP opens its firewall for IPv6, too', async () => {
    await using lab = await Lab.create();
    const { server, home } = await build(lab, { ipv6: true });
    await using gateway = await withPortMapping(home, ['pcp']);
    const anna = await login(home.firstHost, server, 'anna');
    const mapping = await waitFor(
      'a port of IPv6',
      async () => {
        const { gateways } = await portMappingOf(anna);
        return gateways.find(({ family }) => family === 6)?.mappings[0];
      },
      patience,
    );
    const { port } = await anna.verb('status');
    assert.equal(mapping.external, `[${home.firstHost.ipv6}]:${port}`);
    assert.ok(await gateway.opensIpv6(port!));
  });

  test('is left alone when told so', async () => {
    await using lab = await Lab.create();
    const { server, home } = await build(lab);
    await using gateway = await withPortMapping(home, ['pcp', 'nat-pmp', 'upnp']);
    const anna = await login(home.firstHost, server, 'anna', { args: ['--port-mapping', 'off'] });
    assert.equal((await portMappingOf(anna)).enabled, false);
    assert.doesNotMatch(await gateway.rules(), /dnat/);
  });

  test('whose outer address is no public one gives nothing, and the reason is shown', async () => {
    await using lab = await Lab.create();
    const internet = await Internet.create(lab);
    const server = await BuriServer.start(await internet.host('server'), { enrol: 'open' });
    const home = await Home.create(internet, { name: 'anna', nat: 'port-restricted' });
    await using _ = await withPortMapping(home, ['upnp']);
    const anna = await login(home.firstHost, server, 'anna');
    // miniupnpd itself refuses to map where its outer address is no public one.
    const { upnp } = await waitFor(
      'an answer',
      async () => {
        const now = await portMappingOf(anna);
        return /refused|absent/.test(now.upnp.state) && now;
      },
      patience,
    );
    assert.ok(upnp.reason);
    assert.equal((await portMappingOf(anna)).external, null);
  });
});
