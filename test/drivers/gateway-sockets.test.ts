/** The sockets towards a router, facing one on the loopback that does what each test says. */
import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { describe, test } from 'node:test';
import { GatewaySockets } from '#client/gateway-sockets.ts';
import type { PortMapInput, Uplink } from '#core/portmap/io.ts';
import { uplinkKey } from '#core/portmap/port-mapper.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { announcementPort, pcpPort } from '#wire/pcp.ts';
import { waitFor } from '../../lab/wait.ts';

type InputOf<T extends PortMapInput['type']> = PortMapInput & { readonly type: T };

const patience = { timeoutMs: 30_000 };

/** Loopback addresses of its own, so that tests beside it are not met. */
class Rig implements AsyncDisposable {
  readonly uplink: Uplink;
  readonly stranger: string;
  readonly inputs: PortMapInput[] = [];
  readonly sockets: GatewaySockets;
  readonly #open: (Socket | Server | ReturnType<typeof createTcpServer>)[] = [];
  #ids = 0;

  constructor() {
    const [a = 0, b = 0] = crypto.random(2);
    const net = `127.${64 + (a & 127)}.${b}`;
    this.uplink = { family: 4, interface: 'lo', gateway: `${net}.1`, local: `${net}.10` };
    this.stranger = `${net}.66`;
    this.sockets = new GatewaySockets(this.uplink, (input) => void this.inputs.push(input));
  }

  of<T extends PortMapInput['type']>(type: T): InputOf<T>[] {
    return this.inputs.filter((input): input is InputOf<T> => input.type === type);
  }

  texts(channel: string): string[] {
    return this.of('datagram')
      .filter((input) => input.channel === channel)
      .map(({ bytes, remote }) => `${remote.address}:${remote.port} ${Buffer.from(bytes)}`);
  }

  send(text: string, channel: 'control' | 'search' = 'control', port = pcpPort): void {
    const { uplink } = this;
    const remote = { address: uplink.gateway, port };
    this.sockets.send({
      ...{ type: 'send', uplink: uplinkKey(uplink), channel, remote },
      bytes: Buffer.from(text),
    });
  }

  /** A socket, and what it was sent: text, and from where. */
  async bind(address: string, port = 0) {
    const socket = createSocket('udp4');
    this.#open.push(socket);
    const got: { readonly text: string; readonly from: AddressInfo }[] = [];
    socket.on('message', (bytes, { address: from, port: fromPort, family }) => {
      got.push({ text: `${bytes}`, from: { address: from, port: fromPort, family } });
    });
    await new Promise<void>((resolve) => socket.bind(port, address, resolve));
    return { socket, got, port: socket.address().port };
  }

  async serve(listener: RequestListener, address = this.uplink.gateway): Promise<number> {
    const server = createServer({ keepAlive: true }, listener);
    return this.#listen(server, address);
  }

  /** A device that answers every connection with these bytes, and hangs up if told so. */
  async serveRaw(bytes: string, hangUp: boolean): Promise<number> {
    const server = createTcpServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => (hangUp ? socket.end(bytes) : socket.write(bytes)));
    });
    return this.#listen(server, this.uplink.gateway);
  }

  async #listen(server: Server | ReturnType<typeof createTcpServer>, address: string) {
    this.#open.push(server);
    await new Promise<void>((resolve) => server.listen(0, address, resolve));
    return (server.address() as AddressInfo).port;
  }

  request(port: number, options: { address?: string; path?: string; body?: string } = {}): number {
    const { address = this.uplink.gateway, path = '/desc.xml', body } = options;
    const id = ++this.#ids;
    this.sockets.http({
      ...{ type: 'http', id, uplink: uplinkKey(this.uplink) },
      target: { address, port, path },
      headers: body === undefined ? {} : { SOAPAction: '"urn:a#B"' },
      body,
    });
    return id;
  }

  /** What became of a request. */
  async outcome(id: number) {
    const of = () =>
      [...this.of('http-answer'), ...this.of('http-failed')].filter((input) => input.id === id);
    return waitFor('the request to end', () => of()[0], patience);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.sockets[Symbol.dispose]();
    for (const one of this.#open) {
      if ('closeAllConnections' in one) one.closeAllConnections();
      one.close();
    }
  }
}

describe('PCP and NAT-PMP', () => {
  test('reach port 5351 of the gateway, also what is sent before the socket is open', async () => {
    await using rig = new Rig();
    const gateway = await rig.bind(rig.uplink.gateway, pcpPort);
    rig.send('early');
    const [first] = await waitFor('it', () => gateway.got.length > 0 && gateway.got, patience);
    assert.equal(first?.text, 'early');
    assert.equal(first?.from.address, rig.uplink.local);
    gateway.socket.send('answer', first!.from.port, first!.from.address);
    await waitFor('the answer', () => rig.texts('control').length > 0, patience);
    assert.deepEqual(rig.texts('control'), [`${rig.uplink.gateway}:${pcpPort} answer`]);
  });

  test('are not heard from anybody but that port of the gateway', async () => {
    await using rig = new Rig();
    const gateway = await rig.bind(rig.uplink.gateway, pcpPort);
    const otherPort = await rig.bind(rig.uplink.gateway);
    const otherHost = await rig.bind(rig.stranger, pcpPort);
    rig.send('request');
    const [first] = await waitFor('it', () => gateway.got.length > 0 && gateway.got, patience);
    const { port, address } = first!.from;
    for (const { socket } of [otherPort, otherHost]) {
      await new Promise((resolve) => socket.send('forged', port, address, resolve));
    }
    gateway.socket.send('genuine', port, address);
    await waitFor('the genuine answer', () => rig.texts('control').length > 0, patience);
    assert.deepEqual(rig.texts('control'), [`${rig.uplink.gateway}:${pcpPort} genuine`]);
  });

  test('are told of a closed port, and go on when it opens', async () => {
    await using rig = new Rig();
    await waitFor(
      'the port to be found closed',
      () => {
        rig.send('anybody there?');
        return rig.of('port-closed').length > 0;
      },
      patience,
    );
    assert.equal(rig.of('port-closed')[0]?.uplink, uplinkKey(rig.uplink));
    const gateway = await rig.bind(rig.uplink.gateway, pcpPort);
    await waitFor(
      'the gateway to be reached',
      () => {
        rig.send('and now?');
        return gateway.got.some(({ text }) => text === 'and now?');
      },
      patience,
    );
  });

  test('announcements are handed on with whom they came from', async () => {
    await using rig = new Rig();
    const gateway = await rig.bind(rig.uplink.gateway);
    const stranger = await rig.bind(rig.stranger);
    // The socket is shared: of unicast only one on this machine gets it, of multicast all do.
    const group = '224.0.0.1';
    for (const [{ socket }, text] of [
      [gateway, 'restarted'],
      [stranger, 'forged'],
    ] as const) {
      socket.setMulticastInterface(socket.address().address);
      await waitFor(
        text,
        () => {
          socket.send(text, announcementPort, group);
          return rig.texts('announcement').some((line) => line.endsWith(text));
        },
        patience,
      );
    }
    const senders = new Set(rig.texts('announcement'));
    assert.ok(senders.has(`${rig.uplink.gateway}:${gateway.port} restarted`), `${[...senders]}`);
    assert.ok(senders.has(`${rig.stranger}:${stranger.port} forged`), `${[...senders]}`);
  });
});

test('searches go out from the own address, and every answer names its sender', async () => {
  await using rig = new Rig();
  const device = await rig.bind(rig.uplink.gateway);
  const stranger = await rig.bind(rig.stranger);
  rig.send('M-SEARCH', 'search', device.port);
  const [first] = await waitFor('the search', () => device.got.length > 0 && device.got, patience);
  assert.equal(first?.from.address, rig.uplink.local);
  device.socket.send('here', first!.from.port, first!.from.address);
  stranger.socket.send('no, here', first!.from.port, first!.from.address);
  await waitFor('both', () => rig.texts('search').length === 2, patience);
  assert.deepEqual(rig.texts('search').toSorted(), [
    `${rig.uplink.gateway}:${device.port} here`,
    `${rig.stranger}:${stranger.port} no, here`,
  ]);
});

describe('HTTP', () => {
  test('gets a description and posts an action, from the own address', async () => {
    await using rig = new Rig();
    const seen: string[] = [];
    const port = await rig.serve((request, response) => {
      const { method, url, headers, socket } = request;
      let body = '';
      request.on('data', (chunk) => (body += chunk));
      request.on('end', () => {
        seen.push(`${method} ${url} ${headers.soapaction} ${body} ${socket.remoteAddress}`);
        response.writeHead(method === 'GET' ? 200 : 500).end('<root/>');
      });
    });
    const got = await rig.outcome(rig.request(port));
    assert.deepEqual(got, { type: 'http-answer', id: 1, status: 200, body: '<root/>' });
    const posted = await rig.outcome(rig.request(port, { path: '/ctl', body: '<a/>' }));
    assert.equal(posted.type === 'http-answer' && posted.status, 500);
    assert.deepEqual(seen, [
      `GET /desc.xml undefined  ${rig.uplink.local}`,
      `POST /ctl "urn:a#B" <a/> ${rig.uplink.local}`,
    ]);
  });

  test('goes to the gateway alone, follows no redirect, and says so when nobody listens', async () => {
    await using rig = new Rig();
    let asked = 0;
    const elsewhere = await rig.serve((_, response) => {
      asked += 1;
      response.end();
    }, rig.stranger);
    const other = await rig.outcome(rig.request(elsewhere, { address: rig.stranger }));
    assert.equal(other.type, 'http-failed');
    const port = await rig.serve((_, response) => {
      response.writeHead(302, { Location: `http://${rig.stranger}:${elsewhere}/` }).end();
    });
    const redirected = await rig.outcome(rig.request(port));
    assert.equal(redirected.type === 'http-answer' && redirected.status, 302);
    assert.equal(asked, 0);
    const { port: free, socket } = await rig.bind(rig.uplink.gateway);
    assert.equal((await rig.outcome(rig.request(free))).type, 'http-failed');
    assert.ok(socket);
  });

  const ok = 'HTTP/1.1 200 OK\r\n';
  const hostile = {
    'a body too long': [`${ok}\r\n${'x'.repeat(70_000)}`, true],
    'a body without end': [`${ok}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n`, false],
    'a body that breaks off': [`${ok}Content-Length: 1000\r\n\r\nabc`, true],
    'headers too long': [`${ok}A: ${'x'.repeat(10_000)}\r\n\r\n`, true],
    'what is no HTTP': ['SSH-2.0-OpenSSH_9.9\r\n', true],
    'nothing at all': ['', false],
    'a hang-up': ['', true],
  } as const;
  for (const [name, [bytes, hangUp]] of Object.entries(hostile)) {
    test(`a device that answers with ${name} has failed`, async () => {
      await using rig = new Rig();
      const port = await rig.serveRaw(bytes, hangUp);
      const id = rig.request(port);
      assert.equal((await rig.outcome(id)).type, 'http-failed');
      assert.equal(rig.of('http-answer').length, 0);
    });
  }
});

test('after the end nothing more is handed on', async () => {
  await using rig = new Rig();
  const gateway = await rig.bind(rig.uplink.gateway, pcpPort);
  rig.send('request');
  const [first] = await waitFor('it', () => gateway.got.length > 0 && gateway.got, patience);
  const port = await rig.serveRaw('', false);
  rig.request(port);
  rig.sockets[Symbol.dispose]();
  await new Promise((resolve) =>
    gateway.socket.send('late', first!.from.port, rig.uplink.local, resolve),
  );
  // A round through the loop and the kernel, which answers another socket in order.
  const witness = await rig.bind(rig.uplink.local);
  gateway.socket.send('witness', witness.port, rig.uplink.local);
  await waitFor('the witness', () => witness.got.length > 0, patience);
  assert.deepEqual(rig.inputs, []);
});
