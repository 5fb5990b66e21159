import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { monotonicMs, type Now, wallMs } from '#core/time.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { addressBytes, type Endpoint, formatEndpoint } from '#wire/endpoint.ts';
import type { PortMapInput, PortMapOutput, Uplink } from './io.ts';
import { PortMapper, uplinkKey } from './port-mapper.ts';

const uplink: Uplink = {
  ...{ family: 4, interface: 'eth0', gateway: '192.168.1.1', local: '192.168.1.10' },
};
const uplink6: Uplink = {
  ...{ family: 6, interface: 'eth0', gateway: 'fe80::1', local: '2001:db8::10' },
};
const port = 41_657;
const key = uplinkKey(uplink);
const control: Endpoint = { address: uplink.gateway, port: 5351 };

type Send = PortMapOutput & { readonly type: 'send' };
type Http = PortMapOutput & { readonly type: 'http' };

/** A gateway that does what each test says, under virtual time. */
class Rig {
  readonly mapper = new PortMapper({
    crypto,
    ports: new Map([
      [4, port],
      [6, port],
    ]),
    nonceKey: new Uint8Array(32).fill(7),
  });
  ms = 1_000_000;
  readonly sent: Send[] = [];
  readonly requested: Http[] = [];
  stopped = false;
  onSend: (send: Send) => void = () => {};
  onHttp: (http: Http) => void = () => {};

  get now(): Now {
    return { monotonic: monotonicMs(this.ms), wall: wallMs(this.ms) };
  }

  feed(input: PortMapInput): void {
    this.mapper.handle(input, this.now);
    this.pump();
  }

  pump(): void {
    for (let out = this.mapper.poll(); out !== undefined; out = this.mapper.poll()) {
      if (out.type === 'send') {
        this.sent.push(out);
        this.onSend(out);
      } else if (out.type === 'http') {
        this.requested.push(out);
        this.onHttp(out);
      } else if (out.type === 'stopped') this.stopped = true;
    }
  }

  start(uplinks: readonly Uplink[] = [uplink]): void {
    this.feed({ type: 'uplinks', uplinks, changed: false });
  }

  /** Lets time pass, waking the machine whenever it wants to be. */
  pass(seconds: number): void {
    const end = this.ms + seconds * 1000;
    for (let wakes = 0; ; wakes++) {
      assert.ok(wakes < 5000, 'the machine spins');
      const deadline = this.mapper.deadline();
      if (deadline === undefined || deadline > end) break;
      this.ms = Math.max(this.ms, deadline);
      this.feed({ type: 'tick' });
    }
    this.ms = end;
  }

  reply(bytes: Uint8Array, remote: Endpoint = control, uplinkOf = key): void {
    this.mapper.handle(
      { type: 'datagram', uplink: uplinkOf, channel: 'control', remote, bytes },
      this.now,
    );
  }

  get mapped(): string[] {
    return this.mapper.mapped.map(formatEndpoint);
  }

  get protocols() {
    return this.mapper.summary(this.now).uplinks[0]?.protocols;
  }

  controls(from = 0): Uint8Array[] {
    const ofControl = this.sent.slice(from).filter(({ channel }) => channel === 'control');
    return ofControl.map(({ bytes }) => bytes);
  }

  pcpMaps = (from = 0) => this.controls(from).filter((bytes) => bytes[0] === 2 && bytes[1] === 1);
}

interface PcpGateway {
  external?: string;
  port?: number;
  lifetime?: number;
  result?: number;
  bootedAt?: number;
}

/** Answers PCP like a server; `gateway` may change meanwhile. */
function pcpAnswer(request: Uint8Array, gateway: PcpGateway, ms: number): Uint8Array {
  const { external = '203.0.113.10', result = 0, bootedAt = 0 } = gateway;
  const asked = new DataView(request.buffer);
  const bytes = request.slice();
  const view = new DataView(bytes.buffer);
  bytes[1] = request[1]! | 0x80;
  bytes[3] = result;
  const wanted = asked.getUint32(4);
  view.setUint32(4, result !== 0 || wanted > 0 ? (gateway.lifetime ?? wanted) : 0);
  view.setUint32(8, Math.floor((ms - bootedAt) / 1000));
  bytes.fill(0, 12, 24);
  if (request[1] === 0) return bytes;
  view.setUint16(42, gateway.port ?? asked.getUint16(42));
  const address = addressBytes(external)!;
  if (address.length === 16) bytes.set(address, 44);
  else bytes.set([...new Uint8Array(10), 0xff, 0xff, ...address], 44);
  return bytes;
}

function withPcp(rig: Rig, gateway: PcpGateway, remote?: Endpoint): PcpGateway {
  rig.onSend = ({ bytes, channel }) => {
    if (channel === 'control' && bytes[0] === 2) {
      rig.reply(pcpAnswer(bytes, gateway, rig.ms), remote);
    }
  };
  return gateway;
}

function natPmpAnswer(request: Uint8Array, options: { lifetime?: number; epoch?: number } = {}) {
  const { lifetime = 7200, epoch = 100 } = options;
  const bytes = new Uint8Array(request[1] === 0 ? 12 : 16);
  const view = new DataView(bytes.buffer);
  bytes[1] = request[1]! | 0x80;
  view.setUint32(4, epoch);
  if (request[1] === 0) bytes.set([203, 0, 113, 10], 8);
  else {
    bytes.set(request.subarray(4, 8), 8);
    view.setUint32(12, lifetime);
  }
  return bytes;
}

describe('PCP', () => {
  test('a port is mapped at once and offered', () => {
    const rig = new Rig();
    withPcp(rig, { port: 5000 });
    rig.start();
    rig.pass(0);
    assert.deepEqual(rig.mapped, ['203.0.113.10:5000']);
    const [report] = rig.mapper.summary(rig.now).uplinks[0]!.mappings;
    assert.equal(report?.lifetimeSeconds, 7200);
    assert.equal(report?.renewInSeconds, 3600);
  });

  test('the mapping is renewed at half its life, with the port that was given', () => {
    const rig = new Rig();
    withPcp(rig, { port: 5000, lifetime: 600 });
    rig.start();
    rig.pass(299);
    assert.equal(rig.pcpMaps().length, 1);
    rig.pass(2);
    const [, renewal] = rig.pcpMaps();
    assert.equal(new DataView(renewal!.buffer).getUint16(42), 5000, 'suggests what it has');
    rig.pass(3000);
    assert.deepEqual(rig.mapped, ['203.0.113.10:5000']);
    assert.equal(rig.pcpMaps().length, 12);
  });

  test('a gateway that restarted is noticed within a minute or so, and asked again', () => {
    const rig = new Rig();
    const gateway = withPcp(rig, {});
    rig.start();
    rig.pass(1000);
    assert.equal(rig.pcpMaps().length, 1);
    gateway.bootedAt = rig.ms;
    rig.pass(61);
    assert.equal(rig.pcpMaps().length, 2);
    rig.pass(600);
    assert.equal(rig.pcpMaps().length, 2, 'and then it is well');
  });

  test('an announcement of the gateway brings the mapping back at once, one of anybody else does not', () => {
    const rig = new Rig();
    const gateway = withPcp(rig, {});
    rig.start();
    rig.pass(1000);
    gateway.bootedAt = rig.ms;
    const bytes = new Uint8Array(24);
    bytes.set([2, 0x80]);
    const announce = (remote: Endpoint) =>
      rig.feed({ type: 'datagram', uplink: key, channel: 'announcement', remote, bytes });
    announce({ address: '192.168.1.66', port: 5351 });
    assert.equal(rig.pcpMaps().length, 1);
    announce(control);
    rig.pass(0);
    assert.equal(rig.pcpMaps().length, 2);
  });

  test('a gateway that falls silent keeps its mapping to the end of its life', () => {
    const rig = new Rig();
    withPcp(rig, { lifetime: 600 });
    rig.start();
    rig.pass(10);
    rig.onSend = () => {};
    rig.pass(580);
    assert.equal(rig.mapped.length, 1);
    rig.pass(12);
    assert.deepEqual(rig.mapped, []);
    assert.equal(rig.protocols?.pcp?.state, 'asking', 'and is asked anew');
  });

  test('the same nonce is used at every start, and another for another device', () => {
    const nonceOf = (rig: Rig) => {
      rig.start();
      return rig.pcpMaps()[0]!.subarray(24, 36);
    };
    assert.deepEqual(nonceOf(new Rig()), nonceOf(new Rig()));
  });

  test('opens the firewall of an IPv6 gateway', () => {
    const rig = new Rig();
    rig.onSend = ({ bytes, uplink: to }) =>
      rig.reply(
        pcpAnswer(bytes, { external: uplink6.local }, rig.ms),
        { address: uplink6.gateway, port: 5351 },
        to,
      );
    rig.start([uplink6]);
    rig.pass(0);
    assert.deepEqual(rig.mapped, [`[2001:db8::10]:${port}`]);
    assert.ok(
      rig.controls().every((bytes) => bytes[0] === 2),
      'NAT-PMP knows no IPv6',
    );
  });

  test('is given back at the end', () => {
    const rig = new Rig();
    withPcp(rig, {});
    rig.start();
    rig.pass(5);
    rig.feed({ type: 'stop' });
    assert.deepEqual(rig.mapped, []);
    rig.pass(1);
    assert.ok(rig.stopped);
    const last = rig.pcpMaps().at(-1)!;
    assert.equal(new DataView(last.buffer).getUint32(4), 0, 'lifetime 0');
  });

  test('the end does not wait long for a gateway that is gone', () => {
    const rig = new Rig();
    withPcp(rig, {});
    rig.start();
    rig.pass(5);
    rig.onSend = () => {};
    rig.feed({ type: 'stop' });
    rig.pass(1);
    assert.ok(rig.stopped);
  });
});

describe('a hostile or broken gateway', () => {
  const faultsOf = (rig: Rig) => Object.fromEntries(rig.mapper.summary(rig.now).faults);

  test('answers from other addresses and ports count for nothing', () => {
    for (const remote of [
      { address: '192.168.1.66', port: 5351 },
      { address: uplink.gateway, port: 5352 },
    ]) {
      const rig = new Rig();
      withPcp(rig, {}, remote);
      rig.start();
      rig.pass(1);
      assert.deepEqual(rig.mapped, []);
      assert.ok(faultsOf(rig)['not-the-gateway']! > 0);
    }
  });

  test('a PCP answer with another nonce or port counts for nothing', () => {
    for (const offset of [24, 41]) {
      const rig = new Rig();
      rig.onSend = ({ bytes, channel }) => {
        if (channel !== 'control' || bytes[0] !== 2) return;
        const answer = pcpAnswer(bytes, {}, rig.ms);
        answer[offset]! ^= 1;
        rig.reply(answer);
      };
      rig.start();
      rig.pass(1);
      assert.deepEqual(rig.mapped, []);
      assert.ok(faultsOf(rig)['pcp-not-ours']! > 0);
    }
  });

  test('what nobody asked for changes nothing', () => {
    const rig = new Rig();
    withPcp(rig, { port: 5000 });
    rig.start();
    rig.pass(5);
    const request = rig.pcpMaps()[0]!;
    rig.reply(pcpAnswer(request, { port: 6000 }, rig.ms));
    rig.reply(pcpAnswer(request, { result: 2 }, rig.ms));
    rig.feed({ type: 'tick' });
    assert.deepEqual(rig.mapped, ['203.0.113.10:5000']);
  });

  test('a lifetime of nothing is no mapping, and does not make us ask in a loop', () => {
    for (const lifetime of [0, 1, 19]) {
      const rig = new Rig();
      withPcp(rig, { lifetime });
      rig.start();
      rig.pass(60);
      assert.deepEqual(rig.mapped, []);
      assert.equal(rig.protocols?.pcp?.reason, 'the lifetime is too short');
      assert.ok(rig.pcpMaps().length <= 2);
    }
  });

  test('a lifetime of ages is cut to a day', () => {
    const rig = new Rig();
    withPcp(rig, { lifetime: 0xffff_ffff });
    rig.start();
    rig.pass(1);
    assert.equal(rig.mapper.summary(rig.now).uplinks[0]?.mappings[0]?.lifetimeSeconds, 86_400);
  });

  test('a private outer address is shown, but not offered', () => {
    for (const external of ['10.0.0.7', '192.168.0.2', '100.70.0.1']) {
      const rig = new Rig();
      withPcp(rig, { external });
      rig.start();
      rig.pass(1);
      assert.deepEqual(rig.mapped, []);
      const [mapping] = rig.mapper.summary(rig.now).uplinks[0]!.mappings;
      assert.equal(mapping?.usable, false);
      assert.equal(mapping?.external.address, external);
    }
  });

  test('an outer address that nobody can have is no mapping', () => {
    for (const external of [
      '0.0.0.0',
      '127.0.0.1',
      '224.0.0.1',
      '169.254.1.1',
      '255.255.255.255',
    ]) {
      const rig = new Rig();
      withPcp(rig, { external });
      rig.start();
      rig.pass(1);
      assert.equal(rig.protocols?.pcp?.reason, 'no external address', external);
    }
  });

  test('an epoch that jumps about costs one request every few seconds at most', () => {
    const rig = new Rig();
    const gateway = withPcp(rig, {});
    rig.start();
    rig.pass(5);
    for (let n = 0; n < 1000; n++) {
      gateway.bootedAt = n % 2 === 0 ? 0 : rig.ms;
      rig.feed({ type: 'recheck' });
      rig.pass(0.01);
    }
    assert.ok(rig.controls().length < 20, `${rig.controls().length} requests in ten seconds`);
  });

  test('noise is counted and ignored', () => {
    const rig = new Rig();
    rig.start();
    for (let length = 0; length < 80; length++) {
      rig.reply(new Uint8Array(length));
      rig.reply(crypto.random(length));
      rig.reply(new Uint8Array(length).fill(2));
    }
    rig.feed({ type: 'tick' });
    assert.deepEqual(rig.mapped, []);
    assert.ok(faultsOf(rig)['pcp-malformed']! > 0);
  });
});

describe('NAT-PMP', () => {
  const withNatPmp = (rig: Rig, options: { lifetime?: number; epoch?: number } = {}) => {
    rig.onSend = ({ bytes, channel }) => {
      if (channel !== 'control') return;
      if (bytes[0] === 0) rig.reply(natPmpAnswer(bytes, options));
      else rig.reply(new Uint8Array([0, 0x80 | bytes[1]!, 0, 1, 0, 0, 0, 9]));
    };
    return options;
  };

  test('takes over at once where the gateway does not know PCP', () => {
    const rig = new Rig();
    withNatPmp(rig);
    rig.start();
    rig.pass(0);
    assert.deepEqual(rig.mapped, [`203.0.113.10:${port}`]);
    assert.equal(rig.protocols?.pcp?.state, 'absent');
  });

  test('takes over soon where the gateway leaves PCP unanswered', () => {
    const rig = new Rig();
    rig.onSend = ({ bytes, channel }) => {
      if (channel === 'control' && bytes[0] === 0) rig.reply(natPmpAnswer(bytes));
    };
    rig.start();
    rig.pass(0.5);
    assert.deepEqual(rig.mapped, [`203.0.113.10:${port}`]);
  });

  test('is renewed, follows a restart, and is given back', () => {
    const rig = new Rig();
    const gateway = withNatPmp(rig, { lifetime: 600, epoch: 1000 });
    const maps = () => rig.controls().filter((bytes) => bytes[0] === 0 && bytes[1] === 1);
    const advance = (seconds: number) => {
      for (let n = 0; n < seconds; n++) {
        rig.pass(1);
        gateway.epoch! += 1;
      }
    };
    rig.start();
    advance(299);
    assert.equal(maps().length, 1);
    advance(3);
    assert.equal(maps().length, 2);
    gateway.epoch = 0;
    advance(62);
    assert.equal(maps().length, 3);
    rig.feed({ type: 'stop' });
    rig.pass(1);
    assert.ok(rig.stopped);
    assert.equal(new DataView(maps().at(-1)!.buffer).getUint32(8), 0);
  });

  test('a closed port is known at once, and not asked again for minutes', () => {
    const rig = new Rig();
    rig.start();
    rig.feed({ type: 'port-closed', uplink: key });
    assert.equal(rig.protocols?.pcp?.reason, 'the port is closed');
    assert.equal(rig.protocols?.['nat-pmp']?.reason, 'the port is closed');
    const before = rig.controls().length;
    rig.pass(120);
    assert.equal(rig.controls().length, before);
    rig.pass(240);
    assert.ok(rig.controls().length > before, 'but some time later');
  });

  test('a change of the network is a reason to ask again', () => {
    const rig = new Rig();
    rig.start();
    rig.feed({ type: 'port-closed', uplink: key });
    rig.pass(10);
    withPcp(rig, {});
    rig.feed({ type: 'uplinks', uplinks: [uplink], changed: true });
    rig.pass(0);
    assert.equal(rig.mapped.length, 1);
    rig.feed({ type: 'uplinks', uplinks: [], changed: true });
    assert.deepEqual(rig.mapped, []);
  });
});

describe('UPnP', () => {
  const type = 'urn:schemas-upnp-org:service:WANIPConnection:';
  interface Igd {
    version?: 1 | 2;
    location?: string;
    from?: string;
    external?: string;
    faults?: number[];
    description?: string;
    silent?: boolean;
  }

  function withIgd(rig: Rig, igd: Igd = {}): Igd {
    rig.onSend = ({ channel, remote }) => {
      if (channel !== 'search' || remote.address !== uplink.gateway) return;
      const location = igd.location ?? 'http://192.168.1.1:5000/root.xml';
      rig.mapper.handle(
        {
          ...{ type: 'datagram', uplink: key, channel: 'search' },
          remote: { address: igd.from ?? uplink.gateway, port: 1900 },
          bytes: new TextEncoder().encode(`HTTP/1.1 200 OK\r\nLOCATION: ${location}\r\n\r\n`),
        },
        rig.now,
      );
    };
    rig.onHttp = (http) => {
      if (igd.silent) return;
      const [status, body] = igdAnswer(igd, http);
      rig.mapper.handle({ type: 'http-answer', id: http.id, status, body }, rig.now);
      rig.pump();
    };
    return igd;
  }

  function igdAnswer(igd: Igd, { body }: Http): [number, string] {
    if (body === undefined) {
      const service = `<service><serviceType>${type}${igd.version ?? 1}</serviceType><controlURL>/c</controlURL></service>`;
      const root = `<root><device><modelName>R7</modelName>${service}</device></root>`;
      return [200, igd.description ?? root];
    }
    const action = /<u:(\w+)/.exec(body)![1]!;
    const fault = action.startsWith('Add') ? igd.faults?.shift() : undefined;
    if (fault !== undefined) return [500, `<E><errorCode>${fault}</errorCode></E>`];
    const external = `<NewExternalIPAddress>${igd.external ?? '203.0.113.10'}</NewExternalIPAddress>`;
    const inside =
      action === 'GetExternalIPAddress' ? external : '<NewReservedPort>777</NewReservedPort>';
    return [200, `<E><B><u:${action}Response>${inside}</u:${action}Response></B></E>`];
  }

  const actions = (rig: Rig) =>
    rig.requested.map(({ body }) => (body === undefined ? 'GET' : /<u:(\w+)/.exec(body)![1]!));
  const bodies = (rig: Rig) =>
    rig.requested.map(({ body }) => body ?? '').filter((body) => body.includes('<u:Add'));

  test('maps where nothing else answers, within a second', () => {
    const rig = new Rig();
    withIgd(rig);
    rig.start();
    rig.pass(1);
    assert.deepEqual(rig.mapped, [`203.0.113.10:${port}`]);
    assert.deepEqual(actions(rig), ['GET', 'GetExternalIPAddress', 'AddPortMapping']);
    assert.equal(rig.protocols?.upnp?.product, 'R7');
  });

  test('lets an IGD of version 2 choose the port', () => {
    const rig = new Rig();
    withIgd(rig, { version: 2 });
    rig.start();
    rig.pass(1);
    assert.deepEqual(rig.mapped, ['203.0.113.10:777']);
  });

  test('is found and left alone where PCP has mapped', () => {
    const rig = new Rig();
    withIgd(rig);
    const search = rig.onSend;
    rig.onSend = (send) => {
      if (send.channel === 'search') search(send);
      else if (send.bytes[0] === 2) rig.reply(pcpAnswer(send.bytes, {}, rig.ms));
    };
    rig.start();
    rig.pass(10);
    assert.equal(rig.protocols?.upnp?.state, 'found');
    assert.ok(!actions(rig).includes('AddPortMapping'));
  });

  test('takes over where PCP refuses', () => {
    const rig = new Rig();
    withIgd(rig);
    const search = rig.onSend;
    rig.onSend = (send) => {
      if (send.channel === 'search') search(send);
      else if (send.bytes[0] === 2)
        rig.reply(pcpAnswer(send.bytes, { result: 2, lifetime: 60 }, rig.ms));
    };
    rig.start();
    rig.pass(10);
    assert.equal(rig.protocols?.pcp?.reason, 'not authorized');
    assert.equal(rig.protocols?.upnp?.state, 'mapped');
  });

  test('asks for another port when this one is taken, and for a mapping without end when leases are not known', () => {
    const rig = new Rig();
    withIgd(rig, { faults: [718, 725] });
    rig.start();
    rig.pass(1);
    assert.equal(rig.mapped.length, 1);
    const [first = '', second = '', third = ''] = bodies(rig);
    const portOf = (body: string) => /<NewExternalPort>(\d+)/.exec(body)?.[1];
    assert.equal(portOf(first), `${port}`);
    assert.notEqual(portOf(second), `${port}`);
    assert.equal(portOf(third), portOf(second));
    assert.match(third, /<NewLeaseDuration>0</);
    assert.equal(rig.mapper.summary(rig.now).uplinks[0]?.mappings[0]?.lifetimeSeconds, undefined);
  });

  test('gives up after a few refusals', () => {
    const rig = new Rig();
    withIgd(rig, { faults: new Array(100).fill(718) });
    rig.start();
    rig.pass(60);
    assert.equal(rig.protocols?.upnp?.reason, 'port taken');
    assert.ok(bodies(rig).length <= 4);
  });

  test('is renewed long before a lease ends, and given back at the end', () => {
    const rig = new Rig();
    withIgd(rig);
    rig.start();
    rig.pass(1300);
    assert.equal(bodies(rig).length, 3);
    rig.feed({ type: 'stop' });
    rig.pass(1);
    assert.ok(rig.stopped);
    assert.equal(actions(rig).at(-1), 'DeletePortMapping');
  });

  test('is kept and renewed where the gateway has no address for some minutes', () => {
    const rig = new Rig();
    const igd = withIgd(rig);
    rig.start();
    rig.pass(500);
    igd.external = '0.0.0.0';
    rig.pass(300);
    assert.deepEqual(rig.mapped, [`203.0.113.10:${port}`]);
    assert.equal(bodies(rig).length, 1);
    igd.external = '203.0.113.99';
    rig.pass(120);
    assert.deepEqual(rig.mapped, [`203.0.113.99:${port}`]);
    assert.equal(bodies(rig).length, 2);
  });

  test('never talks to another machine than the gateway', () => {
    const cases: Igd[] = [
      { location: 'http://198.51.100.7:80/x.xml' },
      { location: 'http://192.168.1.66:5000/x.xml' },
      { from: '192.168.1.66' },
    ];
    for (const igd of cases) {
      const rig = new Rig();
      withIgd(rig, igd);
      rig.start();
      rig.pass(30);
      assert.deepEqual(rig.requested, []);
      assert.equal(rig.protocols?.upnp?.state, 'absent');
    }
    const rig = new Rig();
    const service = `<service><serviceType>${type}1</serviceType><controlURL>http://198.51.100.7/c</controlURL></service>`;
    withIgd(rig, { description: `<root><device>${service}</device></root>` });
    rig.start();
    rig.pass(30);
    assert.deepEqual(actions(rig), ['GET']);
    assert.equal(rig.protocols?.upnp?.reason, 'the device maps no ports');
  });

  test('looks at few of many descriptions, and does not hang on one that never comes', () => {
    const rig = new Rig();
    const igd = withIgd(rig, { silent: true });
    let n = 0;
    const search = rig.onSend;
    rig.onSend = (send) => {
      for (let i = 0; i < 10; i++) {
        igd.location = `http://192.168.1.1:5000/${n++}.xml`;
        search(send);
      }
    };
    rig.start();
    rig.pass(60);
    assert.equal(rig.requested.length, 4);
    assert.equal(rig.protocols?.upnp?.state, 'absent');
  });

  test('a private or senseless outer address is no way in', () => {
    const rig = new Rig();
    withIgd(rig, { external: '0.0.0.0' });
    rig.start();
    rig.pass(30);
    assert.equal(rig.protocols?.upnp?.reason, 'no external address');
    const other = new Rig();
    withIgd(other, { external: '10.1.2.3' });
    other.start();
    other.pass(30);
    assert.deepEqual(other.mapped, []);
    assert.equal(other.mapper.summary(other.now).uplinks[0]?.mappings[0]?.usable, false);
  });
});
