/** STUN over real UDP sockets of the server process. */
import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { after, before, test } from 'node:test';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import type { AddressProof, ServerMessageOf } from '#wire/control.ts';
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

const arrive = (nick: string) =>
  ControlClient.login({ url: server.url, keys: new DeviceKeys(nick) });

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

/** Asks a STUN port for a token, as a client does, and proves the address by it. */
async function proofOf(port: number): Promise<AddressProof> {
  const answer = await ask(request({ wantsToken: true }), port);
  assert.ok(answer?.message.token, 'a token');
  return { address: '127.0.0.1', token: answer.message.token };
}

test('who proves an address by its token is vouched for, to two members at a time that asked, and to nobody else', async () => {
  await using owner = await arrive('owner');
  const name = `proofs of ${owner.clientId}`;
  await owner.create(name);
  const members: ControlClient[] = [];
  for (const nick of ['first', 'second', 'third']) {
    const member = await arrive(nick);
    members.push(member);
    assert.ok((await member.join(name)).ok);
  }
  const [first, second, third] = members as [ControlClient, ControlClient, ControlClient];
  const proof = await proofOf(server.stunPorts[0]!);
  let sent = 0;
  /** What the server says of the owner to a member, in a signal with these proofs. */
  const vouchedTo = async (to: ControlClient, ...proofs: AddressProof[]) => {
    const sealed = Uint8Array.of(0xa5, ++sent);
    owner.send({ t: 'signal', to: to.clientId, sealed, punch: false, proofs });
    const signal = await to.next<ServerMessageOf<'signal'>>(
      (message) => message.t === 'signal' && message.sealed[1] === sent,
    );
    assert.equal(signal.from, owner.clientId);
    return signal.proven;
  };
  assert.equal(await vouchedTo(first, proof), undefined, 'it did not ask');
  for (const member of members) {
    const sealed = Uint8Array.of(0x5a, ++sent);
    const mark = sent;
    member.send({ t: 'signal', to: owner.clientId, sealed, punch: false, probes: true });
    await owner.next((message) => message.t === 'signal' && message.sealed[1] === mark);
  }
  const forged = { ...proof, token: crypto.random(proof.token.length) };
  assert.equal(await vouchedTo(first, forged), undefined, 'a token that is none');
  const victim = { ...proof, address: '192.0.2.9' };
  assert.equal(await vouchedTo(first, victim), undefined, 'the token of another address');
  assert.deepEqual(await vouchedTo(first, proof, victim, forged), ['127.0.0.1']);
  assert.deepEqual(await vouchedTo(second, await proofOf(server.stunPorts[1]!)), ['127.0.0.1']);
  assert.equal(await vouchedTo(third, proof), undefined, 'a third one');
  assert.deepEqual(await vouchedTo(first, proof), ['127.0.0.1'], 'it has the grant');
  for (const member of members) await member[Symbol.asyncDispose]();
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
