import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { environment, pinnedNode, repositoryRoot } from '../../lab/exec.ts';
import { Lab } from '../../lab/lab.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { namespaces } from '../../lab/netns.ts';

const script = join(repositoryRoot, 'scripts', 'demo.mjs');
const skip = labSkipReason();

function demo(args: readonly string[] = [], onOutput: (text: string) => void = () => {}) {
  const child = spawn(pinnedNode, [script, ...args], { env: environment() });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      text += chunk;
      onOutput(text);
    });
  }
  const ended = new Promise<{ code: number | null; text: string }>((resolve) => {
    child.on('close', (code) => resolve({ code, text }));
  });
  return { child, ended };
}

/** Namespaces and directories that a laboratory left behind: the process that made them has ended. */
function leftBehind(): string[] {
  const names = [...namespaces(), ...readdirSync(tmpdir())];
  return names.filter((name) => {
    const owner = /^buri-(\d+)-/.exec(name)?.[1];
    return owner !== undefined && !existsSync(`/proc/${owner}`);
  });
}

test('the demo holds every claim and leaves nothing behind', { skip }, async () => {
  await Lab.sweep();
  const { code, text } = await demo().ended;
  assert.equal(code, 0, text);
  assert.doesNotMatch(text, /✖/);
  const [, held, all] = /^(\d+) of (\d+) held/m.exec(text) ?? [];
  assert.equal(held, all);
  assert.ok(Number(all) >= 14, `${all} claims`);
  assert.deepEqual(leftBehind(), []);
});

test('an interrupted demo takes down what it has built', { skip }, async () => {
  await Lab.sweep();
  let interrupted = false;
  const { child, ended } = demo([], (text) => {
    if (interrupted || !/the daemons run/.test(text)) return;
    interrupted = true;
    child.kill('SIGTERM');
  });
  const { code, text } = await ended;
  assert.ok(interrupted, text);
  assert.notEqual(code, 0);
  assert.deepEqual(leftBehind(), []);
});

test('without root the demo says what it needs', { skip }, async () => {
  const child = spawn(pinnedNode, [script], { uid: 65_534, gid: 65_534, env: environment() });
  let text = '';
  child.stderr.on('data', (chunk) => {
    text += chunk;
  });
  const code = await new Promise((resolve) => child.on('close', resolve));
  assert.equal(code, 1);
  assert.match(text, /needs root.*sudo npm run demo/s);
});
