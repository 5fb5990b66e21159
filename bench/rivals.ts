/**
 * How does Buri compare with other VPNs? As `tunnel.ts`, by the same method, with nebula, OpenVPN, tinc and n2n. As root it installs
 * what is missing (Debian packages openvpn, openssl, tinc, n2n; wireguard-go and nebula are unpacked, not installed).
 *
 *   node bench/rivals.ts [--rounds 5] [--seconds 5] [--only buri-aes,nebula] [--json FILE]
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { CONTENDERS, type Contender } from './contenders.ts';
import { runContest } from './contest.ts';
import { RIVALS } from './rival-contenders.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '5' },
    only: {
      type: 'string',
      default: 'buri-aes,buri-chacha,wireguard-go,nebula,openvpn,tinc,n2n,cable',
    },
    json: { type: 'string' },
  },
});

const setup = fileURLToPath(new URL('../scripts/setup.mjs', import.meta.url));
execFileSync(process.execPath, [setup, 'interop', 'rivals'], { stdio: ['ignore', 2, 2] });

const contenders = new Map<string, Contender>();
for (const id of values.only.split(',')) {
  const find = CONTENDERS[id] ?? RIVALS[id];
  if (find === undefined) throw new Error(`unknown contender '${id}'`);
  const contender = find();
  if (contender === undefined) console.error(`bench: no ${id} here: going on without it`);
  else contenders.set(id, contender);
}
const { rounds, seconds, json } = values;
const times = { rounds: Number(rounds), seconds: Number(seconds) };
await runContest({ contenders, scenarios: ['base'], ...times, reference: 'wireguard-go' }, json);
