/** The listener of the control server against those who connect and do not behave. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { ControlEndpoint } from '#server/control/endpoint.ts';
import { parseListenAddress } from '#server/listen-address.ts';
import { controlPath } from '#wire/control.ts';

async function endpoint(t: TestContext, isOpen: boolean) {
  const control = new ControlEndpoint(undefined, ({ socket }) => socket.terminate());
  const port = await control.listen(parseListenAddress('127.0.0.1:0', '--listen'));
  t.after(() => control.close());
  if (isOpen) control.open();
  return port;
}

/** A peer that asks for an upgrade and never ends its own side. */
async function asker(t: TestContext, port: number, path: string): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
  t.after(() => socket.destroy());
  await once(socket, 'connect');
  socket.write(
    `GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n` +
      'sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
  );
  return socket;
}

for (const [what, path, isOpen, status] of [
  ['for another path', '/other', true, '404'],
  ['before the server is open', controlPath, false, '503'],
] as const) {
  test(`an upgrade ${what} is refused, and its connection does not stay`, async (t) => {
    const socket = await asker(t, await endpoint(t, isOpen), path);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    assert.match(answer.toString(), new RegExp(`^HTTP/1.1 ${status} `));
    await once(socket, 'end');
    // Whoever has closed the connection answers what comes afterwards by a reset.
    const reset = once(socket, 'error') as Promise<[NodeJS.ErrnoException]>;
    const writing = setInterval(() => socket.write('x'), 20);
    t.after(() => clearInterval(writing));
    const [{ code }] = await reset;
    assert.match(code ?? '', /ECONNRESET|EPIPE/);
  });
}
