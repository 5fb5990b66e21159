/** STUN over real UDP sockets of the server process. */
import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { after, before, test } from 'node:test';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { decodeStun, type StunMessage } from '#wire/stun.ts';
import { encodeBindingRequest } from '#wire/stun-encode.ts';
import { ControlClient, DeviceKeys } from '../support/control-client.ts';
import { ServerProcess } from '../support/server-process.ts';

let server: ServerProcess;
let socket: Socket;

before(async () => {
  server = await ServerProcess.start({ args: ['--enrol', 'open'] });
  socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
});
after(async () => {
  socket.close();
  await server[Symbol.asyncDispose]();
});

/** Sends and waits for the answer of the same transaction. */
async function ask(
  request: Uint8Array,
  port: number,
): Promise<{ message: StunMessage; from: number } | undefined> {
  const transaction = Buffer.from(request.subarray(8, 20));
  const { promise, resolve } = Promise.withResolvers<
    { message: StunMessage; from: number } | undefined
  >();
  const listen = (bytes: Buffer, { port: from }: { port: number }) => {
    const message = decodeStun(bytes);
    if (message !== undefined && transaction.equals(message.transactionId))
      resolve({ message, from });
  };
  socket.on('message', listen);
  const patience = setTimeout(() => resolve(undefined), 2_000);
  socket.send(request, port, '127.0.0.1');
  try {
    return await promise;
  } finally {
    clearTimeout(patience);
    socket.off('message', listen);
  }
}

const request = (rest: object = {}) =>
  encodeBindingRequest({ transactionId: crypto.random(12), software: 'buri', ...rest });

test('both ports answer with the source address and each other’s', async () => {
  const [first, second] = server.stunPorts;
  for (const [port, other] of [
    [first!, second!],
    [second!, first!],
  ] as const) {
    const answer = await ask(request(), port);
    assert.equal(answer?.from, port);
    assert.deepEqual(answer.message.xorMappedAddress, {
      address: '127.0.0.1',
      port: socket.address().port,
    });
    assert.deepEqual(answer.message.responseOrigin, { address: '127.0.0.1', port });
    assert.deepEqual(answer.message.otherAddress, { address: '127.0.0.1', port: other });
  }
});

test('a request to change the port is answered from the other socket', async () => {
  const [first, second] = server.stunPorts;
  const answer = await ask(request({ changePort: true }), first!);
  assert.equal(answer?.from, second);
});

test('a hundred thousand random and truncated datagrams: it answers on, and memory stays flat', async () => {
  const [first] = server.stunPorts;
  const whole = request({ changePort: true });
  const before = await server.memoryBytes();
  for (let i = 0; i < 100_000; i++) {
    const bytes =
      i % 3 === 0
        ? crypto.random(i % 200)
        : i % 3 === 1
          ? whole.subarray(0, i % whole.length)
          : Buffer.concat([whole.subarray(0, 20), crypto.random(i % 64)]);
    socket.send(bytes, first!, '127.0.0.1');
    if (i % 500 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  // The flood was counted against this address: it is heard again when its bucket has refilled a little.
  let answer: Awaited<ReturnType<typeof ask>>;
  for (let attempt = 0; attempt < 10 && answer === undefined; attempt++)
    answer = await ask(request(), first!);
  assert.ok(answer, 'it answers');
  const grown = (await server.memoryBytes()) - before;
  assert.ok(grown < 64 * 1024 * 1024, `memory grew by ${grown} bytes`);
  await using client = await ControlClient.login({
    url: server.url,
    keys: new DeviceKeys('after the flood'),
  });
  assert.ok(client.clientId);
});

test('one address gets no more answers than its rate', async () => {
  const [, second] = server.stunPorts;
  let answers = 0;
  const count = () => {
    answers++;
  };
  const flooder = createSocket('udp4');
  await new Promise<void>((resolve) => flooder.bind(0, '127.0.0.1', resolve));
  flooder.on('message', count);
  const started = performance.now();
  for (let i = 0; i < 3_000; i++) {
    flooder.send(request(), second!, '127.0.0.1');
    if (i % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await new Promise((resolve) => setTimeout(resolve, 300));
  const seconds = (performance.now() - started) / 1000;
  flooder.close();
  assert.ok(answers > 0 && answers <= 500 + 200 * seconds + 20, `${answers} in ${seconds} s`);
});
