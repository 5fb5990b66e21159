import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type InboundPacket, judgeInbound } from './firewall.ts';

const tcp: InboundPacket = {
  family: 4,
  iifname: 'buri0',
  protocol: 'tcp',
  port: 50_000,
  source: '100.64.0.2',
  destination: '100.64.0.1',
};
const ping: InboundPacket = { ...tcp, protocol: 'icmp' };
const udp: InboundPacket = {
  ...tcp,
  iifname: 'eth0',
  protocol: 'udp',
  port: 41_641,
  source: '192.0.2.1',
};

type Rule = [chain: string, ...expressions: object[]];
const eq = (left: object, right: unknown, op = '==') => ({ match: { op, left, right } });
const meta = (key: string) => ({ meta: { key } });
const field = (protocol: string, name: string) => ({ payload: { protocol, field: name } });
const state = (...right: string[]) => eq({ ct: { key: 'state' } }, right, 'in');
const accept = { accept: null };
const drop = { drop: null };
const established: Rule = ['input', state('established', 'related'), accept];

interface Table {
  readonly family?: string;
  readonly policy?: string;
  readonly prio?: number;
  readonly more?: readonly string[];
  readonly sets?: Record<string, unknown[]>;
  readonly rules: readonly Rule[];
}

function ruleset(...tables: Table[]) {
  return {
    nftables: [
      { metainfo: {} },
      ...tables.flatMap(
        ({ family = 'inet', policy = 'accept', prio = 0, rules, more = [], sets = {} }, i) => {
          const place = { family, table: `t${i}` };
          const base = { name: 'input', type: 'filter', hook: 'input', prio, policy };
          return [
            { chain: { ...place, ...base } },
            ...more.map((name) => ({ chain: { ...place, name } })),
            ...Object.entries(sets).map(([name, elem]) => ({ set: { ...place, name, elem } })),
            ...rules.map(([chain, ...expr]) => ({ rule: { ...place, chain, expr } })),
          ];
        },
      ),
    ],
  };
}

test('what a firewall does to a packet that nobody asked for', () => {
  const jump = (target: string) => ({ jump: { target } });
  const lo: Rule = ['input', eq(meta('iifname'), 'lo'), accept];
  const buri: Rule = ['input', eq(meta('iifname'), 'buri0'), accept];
  const cases: [string, unknown, InboundPacket, string][] = [
    ['no rules', ruleset(), tcp, 'accepts'],
    ['policy drop', ruleset({ policy: 'drop', rules: [established, lo] }), tcp, 'drops'],
    [
      'policy drop, the interface allowed',
      ruleset({ policy: 'drop', rules: [established, buri] }),
      tcp,
      'accepts',
    ],
    [
      'the interface dropped',
      ruleset({ rules: [['input', eq(meta('iifname'), 'buri0'), { counter: {} }, drop]] }),
      ping,
      'drops',
    ],
    [
      'another interface dropped',
      ruleset({ rules: [['input', eq(meta('iifname'), 'eth0'), drop]] }),
      tcp,
      'accepts',
    ],
    [
      'all but another interface dropped',
      ruleset({ rules: [['input', eq(meta('iifname'), 'eth0', '!='), drop]] }),
      tcp,
      'drops',
    ],
    ['rejected', ruleset({ rules: [['input', { reject: { type: 'icmpx' } }]] }), tcp, 'drops'],
    [
      'by a name with a star',
      ruleset({ rules: [['input', eq(meta('iifname'), 'bur*'), drop]] }),
      tcp,
      'drops',
    ],
    ['IPv6 only', ruleset({ family: 'ip6', policy: 'drop', rules: [] }), tcp, 'accepts'],
    [
      'a later table',
      ruleset({ rules: [buri] }, { policy: 'drop', prio: 5, rules: [] }),
      tcp,
      'drops',
    ],
    [
      'a chain of another hook',
      {
        nftables: [
          {
            chain: {
              family: 'inet',
              table: 't',
              name: 'f',
              type: 'filter',
              hook: 'forward',
              prio: 0,
              policy: 'drop',
            },
          },
        ],
      },
      tcp,
      'accepts',
    ],
    [
      'the port allowed',
      ruleset({ policy: 'drop', rules: [['input', eq(field('udp', 'dport'), 41_641), accept]] }),
      udp,
      'accepts',
    ],
    [
      'a port of TCP allowed',
      ruleset({ policy: 'drop', rules: [['input', eq(field('tcp', 'dport'), 41_641), accept]] }),
      udp,
      'drops',
    ],
    [
      'ports in a set',
      ruleset({
        policy: 'drop',
        rules: [
          ['input', eq(field('udp', 'dport'), { set: [22, { range: [41_000, 42_000] }] }), accept],
        ],
      }),
      udp,
      'accepts',
    ],
    [
      'ports in a named set',
      ruleset({
        policy: 'drop',
        sets: { p: [22, 41_641] },
        rules: [['input', eq(field('udp', 'dport'), '@p'), accept]],
      }),
      udp,
      'accepts',
    ],
    [
      'a named set that is not there',
      ruleset({ policy: 'drop', rules: [['input', eq(field('udp', 'dport'), '@p'), accept]] }),
      udp,
      'unknown',
    ],
    [
      'a network allowed',
      ruleset({
        policy: 'drop',
        rules: [
          ['input', eq(field('ip', 'saddr'), { prefix: { addr: '100.64.0.0', len: 10 } }), accept],
        ],
      }),
      tcp,
      'accepts',
    ],
    [
      'another network allowed',
      ruleset({
        policy: 'drop',
        rules: [
          ['input', eq(field('ip', 'saddr'), { prefix: { addr: '10.0.0.0', len: 8 } }), accept],
        ],
      }),
      tcp,
      'drops',
    ],
    [
      'pings allowed',
      ruleset({
        policy: 'drop',
        rules: [['input', eq(field('icmp', 'type'), 'echo-request'), accept]],
      }),
      ping,
      'accepts',
    ],
    [
      'pings allowed, TCP not',
      ruleset({
        policy: 'drop',
        rules: [['input', eq(field('icmp', 'type'), 'echo-request'), accept]],
      }),
      tcp,
      'drops',
    ],
    [
      'new flows allowed',
      ruleset({ policy: 'drop', rules: [['input', state('new'), accept]] }),
      tcp,
      'accepts',
    ],
    [
      'a limit',
      ruleset({ policy: 'drop', rules: [['input', { limit: { rate: 5 } }, accept]] }),
      ping,
      'accepts',
    ],
    [
      'over a limit',
      ruleset({ rules: [['input', { limit: { rate: 5, inv: true } }, drop]] }),
      ping,
      'accepts',
    ],
    [
      'another chain',
      ruleset({
        more: ['sub'],
        rules: [
          ['input', jump('sub')],
          ['sub', { log: {} }],
          ['sub', drop],
        ],
      }),
      tcp,
      'drops',
    ],
    [
      'another chain that returns',
      ruleset({
        more: ['sub'],
        rules: [
          ['input', jump('sub')],
          ['sub', { return: null }],
          ['sub', drop],
        ],
      }),
      tcp,
      'accepts',
    ],
    [
      'chains in a circle',
      ruleset({
        more: ['sub'],
        rules: [
          ['input', jump('sub')],
          ['sub', jump('sub')],
        ],
      }),
      tcp,
      'accepts',
    ],
    [
      'a map of verdicts',
      ruleset({
        rules: [
          [
            'input',
            {
              vmap: {
                key: meta('iifname'),
                data: {
                  set: [
                    ['eth0', accept],
                    ['buri0', drop],
                  ],
                },
              },
            },
          ],
        ],
      }),
      tcp,
      'drops',
    ],
    [
      'a map without it',
      ruleset({
        rules: [['input', { vmap: { key: meta('iifname'), data: { set: [['eth0', drop]] } } }]],
      }),
      tcp,
      'accepts',
    ],
    ['something unknown drops', ruleset({ rules: [['input', { fib: {} }, drop]] }), tcp, 'unknown'],
    [
      'something unknown, then surely dropped',
      ruleset({
        rules: [
          ['input', { fib: {} }, drop],
          ['input', drop],
        ],
      }),
      tcp,
      'drops',
    ],
    [
      'something unknown lets in',
      ruleset({ policy: 'drop', rules: [['input', { fib: {} }, accept]] }),
      tcp,
      'unknown',
    ],
    [
      'iptables: established only',
      ruleset({
        family: 'ip',
        policy: 'drop',
        rules: [['input', { xt: { type: 'match', name: 'conntrack' } }, accept]],
      }),
      tcp,
      'drops',
    ],
    [
      'iptables: a comment',
      ruleset({
        family: 'ip',
        rules: [['input', { xt: { type: 'match', name: 'comment' } }, drop]],
      }),
      tcp,
      'drops',
    ],
  ];
  for (const [name, rules, packet, expected] of cases) {
    assert.equal(judgeInbound(rules, packet).verdict, expected, name);
  }
});

test('the chain that decides is named', () => {
  const rules = ruleset({
    more: ['sub'],
    rules: [
      ['input', { jump: { target: 'sub' } }],
      ['sub', drop],
    ],
  });
  assert.deepEqual(judgeInbound(rules, tcp), { verdict: 'drops', by: 'inet t0 sub' });
});

test('no JSON makes the judge throw or run on', () => {
  fc.assert(fc.property(fc.jsonValue(), (value) => void judgeInbound(value, tcp)));
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(
          fc.constantFrom('input', 'sub'),
          fc.dictionary(
            fc.constantFrom('match', 'vmap', 'jump', 'goto', 'limit', 'xt', 'accept'),
            fc.jsonValue(),
          ),
        ),
      ),
      (rules) => void judgeInbound(ruleset({ more: ['sub'], rules: rules as Rule[] }), tcp),
    ),
  );
  const many = Array.from({ length: 30 }, (): Rule => ['sub', { jump: { target: 'sub' } }]);
  const circle = ruleset({
    more: ['sub'],
    rules: [['input', { jump: { target: 'sub' } }], ...many],
  });
  assert.equal(judgeInbound(circle, tcp).verdict, 'accepts');
});
