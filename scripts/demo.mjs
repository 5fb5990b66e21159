// `npm run demo`: sets up what is missing, then shows a private LAN between two homes behind NATs, on this machine.
//   npm run demo              builds it, tries it, removes it
//   npm run demo -- --keep    leaves it up until Ctrl-C and says what to try
// Plain JavaScript that an older Node can run: the pinned Node arrives with the set-up.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { node, root, setup } from './setup.mjs';

const args = process.argv.slice(2);
const unknown = args.filter((arg) => arg !== '--keep' && arg !== '--help');
if (unknown.length > 0 || args.includes('--help')) {
  console.log('usage: npm run demo [-- --keep]');
  process.exit(unknown.length > 0 ? 2 : 0);
}
if (process.platform !== 'linux')
  fail('The demo needs Linux: it is built from network namespaces.');
if (process.getuid() !== 0) {
  fail(
    'The demo needs root, because it builds network namespaces with NATs and virtual interfaces in them:',
    '  sudo npm run demo',
    'The network of this machine itself is left alone.',
  );
}

const missing = setup('lab');
if (missing.length > 0) fail(`The demo needs these Debian packages: ${missing.join(' ')}`);

const child = spawn(
  node,
  ['--disable-warning=ExperimentalWarning', join(root, 'lab', 'demo.ts'), ...args],
  {
    cwd: root,
    stdio: 'inherit',
    env: { NODE_COMPILE_CACHE: join(root, 'build', 'compile-cache'), ...process.env },
  },
);
// The demo takes everything down on a signal; this process only waits for that. Ctrl-C reaches both by itself.
process.on('SIGINT', () => {});
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('error', (error) => fail(`The demo cannot start: ${error.message}`));
child.on('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 143)));

function fail(...lines) {
  for (const line of lines) console.error(line);
  process.exit(1);
}
