import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { movedToken } from '#wire/relay.ts';
import { hour, Issuer, RelayRig, startWall, udp, webSocket } from '../../test/support/relay-rig.ts';
import * as limits from './limits.ts';
import type { Source } from './source.ts';

const anna = udp('192.0.2.1', 4001);
const bert = udp('2001:db8::2', 4002);
const mallory = udp('203.0.113.66', 6666);

describe('an allocation', () => {
  test('takes a cookie, a ticket and the key in it, and then data goes through', () => {
    const rig = new RelayRig();
    const a = rig.join(anna, rig.issuer.issue(1));
    const b = rig.join(bert, rig.issuer.issue(2));
    assert.equal(rig.send(anna, a.token, 2), 2);
    assert.equal(rig.send(bert, b.token, 1), 1);
    assert.equal(rig.count('forwarded-packets'), 2);
    assert.equal(rig.count('challenged'), 2);
  });

  test('needs no cookie over a WebSocket, which is asked for one all the same by who has no ticket yet', () => {
    const rig = new RelayRig();
    const mine = rig.issuer.issue(1);
    const ws = webSocket(7);
    const [knock] = rig.give(ws, rig.allocate({ ...mine, ticket: new Uint8Array(0) }));
    assert.equal(knock?.type, 'challenge');
    const [answer] = rig.give(ws, rig.allocate(mine));
    assert.equal(answer?.type, 'allocated');
    rig.join(bert, rig.issuer.issue(2));
    assert.equal(rig.send(ws, answer?.type === 'allocated' ? answer.token : 0n, 2), 2);
    assert.equal(
      rig.send(webSocket(8), answer?.type === 'allocated' ? answer.token : 0n, 2),
      undefined,
    );
  });

  test('ends after 90 s of silence, and data keeps it', () => {
    const rig = new RelayRig();
    const a = rig.join(anna, rig.issuer.issue(1));
    rig.join(bert, rig.issuer.issue(2));
    rig.pass(limits.lifetimeMs - 1000);
    assert.equal(rig.send(anna, a.token, 2), 2);
    rig.pass(2000);
    assert.equal(rig.send(anna, a.token, 2), undefined);
    assert.equal(rig.count('expired'), 1);
    assert.equal(rig.count('dropped-no-destination'), 1);
    rig.pass(limits.lifetimeMs);
    assert.equal(rig.board.allocations.size, 0);
  });

  test('moves to another address by a refresh with the cookie of that address, and serves the old one until then', () => {
    const rig = new RelayRig();
    const mine = rig.issuer.issue(1);
    const a = rig.join(anna, mine);
    rig.join(bert, rig.issuer.issue(2));
    const roamed = udp('192.0.2.99', 9);
    const transaction = crypto.random(12);
    const [challenge] = rig.give(roamed, rig.refresh(a.token, mine.key, { transaction }));
    assert.equal(challenge?.type, 'challenge');
    assert.equal(rig.send(anna, a.token, 2), 2);
    assert.equal(rig.send(roamed, a.token, 2), undefined);
    rig.sent();
    const cookie = challenge?.type === 'challenge' ? challenge.cookie : new Uint8Array(16);
    const [answer] = rig.give(roamed, rig.refresh(a.token, mine.key, { transaction, cookie }));
    assert.deepEqual(answer, { type: 'refreshed', transaction, observed: roamed.endpoint });
    assert.equal(rig.send(roamed, a.token, 2), 2);
    assert.equal(rig.count('roamed'), 1);
  });

  test('takes for a second what was under way from its last place when it moved, and sends nothing there', () => {
    const rig = new RelayRig();
    const mine = rig.issuer.issue(1);
    const { token } = rig.join(webSocket(3), mine);
    const bertsToken = rig.join(bert, rig.issuer.issue(2)).token;
    const move = (to: Source): void => {
      const transaction = crypto.random(12);
      const [challenge] = rig.give(to, rig.refresh(token, mine.key, { transaction }));
      assert(challenge?.type === 'challenge');
      const { cookie } = challenge;
      const [answer] = rig.give(to, rig.refresh(token, mine.key, { transaction, cookie }));
      assert.equal(answer?.type, 'refreshed');
    };
    move(anna);
    rig.ms += limits.lingerMs - 1;
    assert.equal(rig.send(webSocket(3), token, 2), 2);
    assert.equal(rig.count('accepted-late'), 1);
    assert.equal(rig.send(bert, bertsToken, 1), 1);
    assert.deepEqual(rig.board.allocations.holder(0)?.source, anna);
    rig.ms += 1;
    assert.equal(rig.send(webSocket(3), token, 2), undefined);
    // Only from the last place, and not from another one that looks like it.
    move(mallory);
    move(udp('192.0.2.50', 5));
    assert.equal(rig.send(anna, token, 2), undefined);
    assert.equal(rig.send(udp('203.0.113.66', 6667), token, 2), undefined);
    assert.equal(rig.send(mallory, token + (1n << 32n), 2), undefined);
    assert.equal(rig.send(mallory, token, 2, 3), 2);
    assert.equal(rig.count('accepted-late'), 4);
  });

  test('has no last place when it ends, or is another one', () => {
    const rig = new RelayRig();
    const mine = rig.issuer.issue(1);
    const first = rig.join(anna, mine).token;
    rig.join(bert, rig.issuer.issue(2));
    rig.ms += 10;
    // By `allocate` from elsewhere: the token is another one.
    const second = rig.join(mallory, mine).token;
    assert.equal(rig.send(anna, first, 2), undefined);
    assert.equal(rig.send(anna, second, 2), undefined);
    assert.equal(rig.send(mallory, second, 2), 2);
    rig.board.revoke('000-000-001', 1, rig.now);
    rig.sent();
    const others = rig.join(udp('192.0.2.8', 8), rig.issuer.issue(3)).token;
    assert.equal(rig.send(mallory, others, 2), undefined);
    assert.equal(rig.send(anna, others, 2), undefined);
    assert.equal(rig.count('accepted-late'), 0);
  });

  test('says so to who sends its data from elsewhere, by a cookie that one refresh moves it with', () => {
    const rig = new RelayRig();
    const mine = rig.issuer.issue(1);
    const { token } = rig.join(anna, mine);
    rig.join(bert, rig.issuer.issue(2));
    const roamed = udp('192.0.2.1', 50_001);
    assert.equal(rig.send(roamed, token, 2, 1, 16), undefined);
    const [told, ...more] = rig.sent();
    assert.equal(more.length, 0);
    assert.deepEqual(told?.to, roamed);
    assert(told.message.type === 'challenge' && told.bytes.length <= 20 + 16);
    const { transaction, cookie } = told.message;
    assert.equal(movedToken(transaction), token);
    const [answer] = rig.give(roamed, rig.refresh(token, mine.key, { transaction, cookie }));
    assert.deepEqual(answer, { type: 'refreshed', transaction, observed: roamed.endpoint });
    assert.equal(rig.send(roamed, token, 2), 2);
  });

  test('says so seldom, never with more than came, and not to a WebSocket or to who has no token', () => {
    const rig = new RelayRig();
    const { token } = rig.join(anna, rig.issuer.issue(1));
    rig.join(bert, rig.issuer.issue(2));
    rig.send(mallory, token, 2, 1, 15);
    rig.send(webSocket(5), token, 2);
    rig.send(mallory, token + 1n, 2);
    assert.deepEqual(rig.sent(), []);
    for (let i = 0; i < 1000; i++) {
      rig.ms += 1;
      rig.send(udp('203.0.113.66', 1000 + i), token, 2);
    }
    assert.equal(rig.sent().length, 1000 / limits.movedMs);
    assert.equal(rig.count('told-moved'), 1000 / limits.movedMs);
    // Data from where the allocation is goes on all the while.
    assert.equal(rig.send(anna, token, 2), 2);
  });

  test('moves between WebSocket and UDP with the same token', () => {
    const rig = new RelayRig();
    const mine = rig.issuer.issue(1);
    const { token } = rig.join(webSocket(3), mine);
    rig.join(bert, rig.issuer.issue(2));
    const transaction = crypto.random(12);
    const [challenge] = rig.give(anna, rig.refresh(token, mine.key, { transaction }));
    const cookie = challenge?.type === 'challenge' ? challenge.cookie : new Uint8Array(16);
    rig.give(anna, rig.refresh(token, mine.key, { transaction, cookie }));
    assert.equal(rig.send(anna, token, 2), 2);
    const [back] = rig.give(webSocket(4), rig.refresh(token, mine.key));
    assert.equal(back?.type, 'refreshed');
    assert.equal(rig.send(webSocket(4), token, 2), 2);
  });

  test('is answered again when the answer was lost, without a second effect', () => {
    const rig = new RelayRig();
    const a = rig.join(anna, rig.issuer.issue(1));
    const [again] = rig.give(anna, a.request);
    assert.equal(again?.type === 'allocated' && again.token, a.token);
    assert.equal(rig.board.allocations.size, 1);
  });

  test('is taken over by the same client with a newer ticket, not with an older one', () => {
    const rig = new RelayRig();
    const first = rig.join(anna, rig.issuer.issue(1, { serial: 5 }));
    const newer = rig.join(anna, rig.issuer.issue(1, { serial: 6 }));
    assert.equal(newer.token, first.token);
    assert.throws(() => rig.join(anna, rig.issuer.issue(1, { serial: 5 })), /revoked-ticket/);
    const elsewhere = rig.join(udp('192.0.2.5', 5), rig.issuer.issue(1, { serial: 6 }));
    assert.notEqual(elsewhere.token, first.token);
    assert.equal(rig.board.allocations.size, 1);
  });

  test('ends at once by release', () => {
    const rig = new RelayRig();
    const mine = rig.issuer.issue(1);
    const { token } = rig.join(anna, mine);
    const release = {
      type: 'release',
      token,
      transaction: crypto.random(12),
      time: rig.time,
    } as const;
    rig.give(anna, rig.seal(mine.key, release));
    assert.equal(rig.board.allocations.size, 0);
  });

  test('ends with its ticket; while the server is away, a day later', () => {
    const rig = new RelayRig();
    const soon = { notAfter: startWall + 10_000 };
    const mine = rig.issuer.issue(1, soon);
    const { token } = rig.join(anna, mine);
    rig.board.setServer(false, rig.now);
    const keep = (): void => {
      const [answer] = rig.give(anna, rig.refresh(token, mine.key));
      assert.equal(answer?.type, 'refreshed');
      rig.pass(30_000);
    };
    for (let at = 0; at < 24 * hour; at += 30_000) keep();
    assert.equal(rig.board.allocations.size, 1);
    rig.pass(20_000);
    assert.equal(rig.board.allocations.size, 0);
    assert.equal(rig.count('ticket-ended'), 1);
    const other = new RelayRig();
    other.join(anna, other.issuer.issue(1, soon));
    other.pass(10_000);
    assert.equal(other.board.allocations.size, 0);
  });

  test('outlives its ticket by a minute when the server comes back, so that a new one can be had', () => {
    const rig = new RelayRig();
    rig.board.setServer(false, rig.now);
    rig.join(anna, rig.issuer.issue(1, { notAfter: startWall + 10_000 }));
    rig.pass(20_000);
    rig.board.setServer(true, rig.now);
    rig.pass(30_000);
    assert.equal(rig.board.allocations.size, 1);
    rig.pass(31_000);
    assert.equal(rig.board.allocations.size, 0);
  });

  test('hears that the relay is about to end, and goes on; nobody else comes in', () => {
    const rig = new RelayRig();
    const a = rig.join(anna, rig.issuer.issue(1));
    rig.join(bert, rig.issuer.issue(2));
    rig.board.drain();
    const told = rig.board
      .takeOutputs()
      .flatMap((output) => (output.type === 'send' ? [output.to] : []));
    assert.deepEqual(told, [anna, bert]);
    assert.equal(rig.send(anna, a.token, 2), 2);
    assert.throws(() => rig.join(mallory, rig.issuer.issue(3)), /draining/);
  });
});

describe('whoever attacks a switchboard', () => {
  test('gets less back than was sent, whatever it is, until the address is proven', () => {
    const rig = new RelayRig();
    const mine = rig.issuer.issue(1);
    const foreign = new Issuer(rig.issuer.relay).issue(1);
    const { token } = rig.join(anna, mine);
    const requests = [
      rig.allocate(mine),
      rig.allocate({ ...mine, ticket: new Uint8Array(0) }),
      rig.allocate(foreign),
      rig.allocate(mine, { cookie: crypto.random(16) }),
      rig.refresh(token, mine.key),
      rig.refresh(token, crypto.random(32)),
      rig.refresh(12345n, mine.key),
    ];
    for (const request of requests) {
      const out = rig.outputs(mallory, request);
      const bytes = out.reduce((sum, o) => sum + (o.type === 'send' ? o.bytes.length : 0), 0);
      assert.ok(bytes <= request.length, `${bytes} for ${request.length}`);
    }
    assert.equal(rig.board.allocations.size, 1);
  });

  test('has no signature checked without the cookie of that very address', () => {
    const rig = new RelayRig();
    const mine = rig.issuer.issue(1);
    const transaction = crypto.random(12);
    const [challenge] = rig.give(anna, rig.allocate(mine, { transaction }));
    const cookie = challenge?.type === 'challenge' ? challenge.cookie : new Uint8Array(16);
    const [spoofed] = rig.give(mallory, rig.allocate(mine, { transaction, cookie }));
    assert.equal(spoofed?.type, 'challenge');
    rig.pass(2 * limits.cookieMs);
    const [late] = rig.give(anna, rig.allocate(mine, { transaction, cookie }));
    assert.equal(late?.type, 'challenge');
  });

  test('gains nothing by a stolen ticket without its key, nor by a stolen token', () => {
    const rig = new RelayRig();
    const mine = rig.issuer.issue(1);
    const { token } = rig.join(anna, mine);
    rig.join(bert, rig.issuer.issue(2));
    const thief = { ...mine, key: crypto.random(32) };
    assert.throws(() => rig.join(mallory, thief), /no allocation/);
    assert.equal(rig.count('dropped-forged'), 1);
    assert.equal(rig.send(mallory, token, 2), undefined);
    assert.equal(rig.send({ ...anna, socket: 1 } as typeof anna, token, 2), undefined);
    assert.equal(rig.count('dropped-wrong-source'), 2);
    // What is told to the thief is of no use without the key.
    for (const { message } of rig.sent()) assert.equal(message.type, 'challenge');
    assert.deepEqual(rig.give(mallory, rig.refresh(token, thief.key)), []);
  });

  test('cannot use a ticket for another relay, of another cluster, of yesterday or of tomorrow', () => {
    const rig = new RelayRig();
    const refused = (credentials: ReturnType<Issuer['issue']>, why: RegExp) =>
      assert.throws(() => rig.join(anna, credentials), why);
    const elsewhere = new Issuer();
    refused(elsewhere.issue(1), /bad-ticket/);
    refused(new Issuer(rig.issuer.relay).issue(1), /bad-ticket/);
    refused(rig.issuer.issue(1, { relayKey: elsewhere.relay.publicKey }), /bad-ticket/);
    refused(rig.issuer.issue(1, { notAfter: startWall }), /expired-ticket/);
    refused(rig.issuer.issue(1, { notBefore: startWall + hour }), /expired-ticket/);
    const cut = rig.issuer.issue(1);
    refused({ ...cut, ticket: cut.ticket.subarray(0, -1) }, /bad-ticket/);
    assert.equal(rig.board.allocations.size, 0);
  });

  test('loses the allocation when evicted, and cannot come back by an old ticket', () => {
    const rig = new RelayRig();
    const mine = rig.issuer.issue(1, { serial: 7 });
    rig.join(anna, mine);
    rig.board.revoke('000-000-001', 7, rig.now);
    assert.equal(rig.board.allocations.size, 0);
    assert.throws(() => rig.join(anna, mine), /revoked-ticket/);
    rig.join(anna, rig.issuer.issue(1, { serial: 8 }));
  });

  test('cannot bring back by a replay where the client was, nor that it was there', () => {
    const rig = new RelayRig();
    const mine = rig.issuer.issue(1);
    const first = rig.join(anna, mine);
    rig.ms += 10;
    const elsewhere = udp('192.0.2.77', 7);
    const transaction = crypto.random(12);
    const [challenge] = rig.give(elsewhere, rig.refresh(first.token, mine.key, { transaction }));
    const cookie = challenge?.type === 'challenge' ? challenge.cookie : new Uint8Array(16);
    const move = rig.refresh(first.token, mine.key, { transaction, cookie });
    rig.give(elsewhere, move);
    assert.deepEqual(rig.give(anna, first.request), []);
    rig.ms += limits.reorderMs + 100;
    rig.give(elsewhere, rig.refresh(first.token, mine.key));
    assert.deepEqual(rig.give(anna, first.request), []);
    assert.equal(rig.count('dropped-replayed'), 2);
    const transactionOfEnd = crypto.random(12);
    const end = {
      type: 'release',
      token: first.token,
      transaction: transactionOfEnd,
      time: rig.time,
    } as const;
    rig.give(elsewhere, rig.seal(mine.key, end));
    assert.equal(rig.board.allocations.size, 0);
    rig.give(anna, first.request);
    assert.equal(rig.board.allocations.size, 0);
  });

  test('is refused with a time that is far off', () => {
    const rig = new RelayRig();
    const mine = rig.issuer.issue(1);
    const { token } = rig.join(anna, mine);
    const time = rig.time - limits.maxSkewMs - 1;
    const [answer] = rig.give(anna, rig.refresh(token, mine.key, { time }));
    assert.deepEqual(answer?.type === 'error' && answer.code, 'wrong-time');
  });

  test('has every cut and every flipped bit of a request dropped', () => {
    const rig = new RelayRig();
    const mine = rig.issuer.issue(1);
    const { token } = rig.join(anna, mine);
    const request = rig.refresh(token, mine.key);
    for (let length = 0; length < request.length; length++) {
      assert.deepEqual(rig.give(anna, request.subarray(0, length)), []);
    }
    rig.pass(20_000);
    for (let at = 8; at < request.length; at += 5) {
      const flipped = request.slice();
      flipped[at]! ^= 1;
      const [answer] = rig.give(anna, flipped);
      assert.ok(answer === undefined || answer.type === 'error');
    }
    assert.equal(rig.count('refreshed'), 0);
  });

  test('can hold only so many allocations from one place', () => {
    const rig = new RelayRig();
    for (let i = 0; i < limits.maxPerPrefix; i++) {
      rig.join(udp('192.0.2.1', 1000 + i), rig.issuer.issue(i));
      rig.pass(50);
    }
    assert.throws(() => rig.join(udp('192.0.2.1', 999), rig.issuer.issue(5000)), /full/);
    rig.join(udp('192.0.2.2', 999), rig.issuer.issue(5001));
  });

  test('is answered only so often', () => {
    const rig = new RelayRig();
    const mine = rig.issuer.issue(1);
    const request = rig.allocate(mine);
    let answers = 0;
    for (let i = 0; i < 5000; i++) answers += rig.give(mallory, request).length;
    assert.ok(answers <= limits.controlPerPrefix.burst);
    assert.equal(rig.count('dropped-control-rate'), 5000 - answers);
    rig.join(anna, mine);
  });

  test('who floods loses what is beyond the rates of the ticket', () => {
    const rig = new RelayRig();
    const a = rig.join(
      anna,
      rig.issuer.issue(1, { bytesPerSecond: 1_000_000, packetsPerSecond: 1000 }),
    );
    rig.join(bert, rig.issuer.issue(2));
    let through = 0;
    for (let i = 0; i < 10_000; i++) {
      if (rig.send(anna, a.token, 2, 1, 100) !== undefined) through++;
      rig.ms += 0.1;
    }
    assert.ok(through >= 1000 && through <= 1300, `${through} of 10,000 in a second`);
    assert.equal(rig.count('dropped-packet-rate'), 10_000 - through);
  });

  test('many who aim at one receiver bring it no more than its own rates allow', () => {
    const rig = new RelayRig();
    const rate = { bytesPerSecond: 1_000_000, packetsPerSecond: 1000 };
    const crowd = Array.from({ length: 20 }, (_, i) => {
      const from = udp(`198.51.100.${i}`, 1);
      return { from, token: rig.join(from, rig.issuer.issue(100 + i, rate)).token };
    });
    const a = rig.join(anna, rig.issuer.issue(1, rate));
    rig.join(bert, rig.issuer.issue(2, rate));
    let through = 0;
    for (let ms = 0; ms < 1000; ms++) {
      for (const { from, token } of crowd) {
        if (rig.send(from, token, 2) !== undefined) through++;
      }
      rig.ms++;
    }
    const most = limits.receivedPerSent * 1250;
    assert.ok(through > most * 0.9 && through <= most, `${through} of 20,000`);
    assert.equal(rig.count('dropped-received-rate'), 20_000 - through);
    assert.equal(rig.send(anna, a.token, 100), 100, 'other receivers lose nothing');
  });

  test('under overload the one who floods is cut, and who sends little is served wholly', () => {
    const rig = new RelayRig();
    const fast = { bytesPerSecond: 1e12, packetsPerSecond: 1e9 };
    const flooder = rig.join(mallory, rig.issuer.issue(66, fast));
    const quiet = rig.join(anna, rig.issuer.issue(1, fast));
    rig.join(bert, rig.issuer.issue(2));
    rig.board.shares.setOverloaded(true);
    const through = { flooder: 0, quiet: 0 };
    for (let i = 0; i < 1000; i++) {
      for (let k = 0; k < 100; k++) {
        if (rig.send(mallory, flooder.token, 2) !== undefined) through.flooder++;
      }
      if (rig.send(anna, quiet.token, 2) !== undefined) through.quiet++;
      rig.ms++;
    }
    assert.equal(through.quiet, 1000);
    assert.ok(through.flooder < 60_000, `${through.flooder} of 100,000`);
  });
});
