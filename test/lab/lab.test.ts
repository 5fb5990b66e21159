/** The laboratory leaves nothing behind, whatever ends it, and says what went wrong. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { environment, execChecked, pinnedNode } from '../../lab/exec.ts';
import { Host } from '../../lab/host.ts';
import { Lab } from '../../lab/lab.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { isAbandoned, isRunning, namespaces, ownPrefix, processesIn } from '../../lab/netns.ts';
import { waitFor, withinMs } from '../../lab/wait.ts';

const skip = labSkipReason();

describe('the laboratory', { skip }, () => {
  test('removes namespaces, processes and directories at the end of its scope', async () => {
    const left = await (async () => {
      await using lab = await Lab.create();
      return await populate(lab);
    })();
    await assertGone(left);
  });

  test('removes everything when the scope ends by an error', async () => {
    let left: Traces | undefined;
    await assert.rejects(async () => {
      await using lab = await Lab.create();
      left = await populate(lab);
      throw new Error('something went wrong');
    }, /something went wrong/);
    assert.ok(left);
    await assertGone(left);
  });

  test('ends programs that ignore SIGTERM, and daemons that left their parent', async () => {
    await using lab = await Lab.create();
    const host = await Host.create(lab, 'host');
    const stubborn = host.spawn('sh', [
      '-c',
      'trap "" TERM; echo deaf; while :; do read x; done < /dev/zero',
    ]);
    await stubborn.line(/deaf/);
    assert.equal(await stubborn.stop('SIGTERM', 200), 137);
    await host.check('sh', ['-c', 'setsid sleep 1000 > /dev/null 2>&1 < /dev/null &']);
    const [daemon] = await waitFor('the daemon', async () => {
      const pids = await processesIn(host.namespace);
      return pids.length > 0 && pids;
    });
    await lab[Symbol.asyncDispose]();
    await waitFor('the daemon to be gone', () => !isRunning(Number(daemon)));
  });

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    test(`removes everything on ${signal}, and dies of it`, async () => {
      const child = await startChild();
      child.process.kill(signal);
      assert.deepEqual(await withinMs('end of the child', 20_000, child.ended), [null, signal]);
      await assertGone(child.left);
    });
  }

  for (const [end, code] of [
    ['exit', 3],
    ['throw', 1],
  ] as const) {
    test(`removes everything when the program ends by ${end} without closing it`, async () => {
      const child = await startChild();
      child.process.stdin.write(`${end}\n`);
      assert.deepEqual(await withinMs('end of the child', 20_000, child.ended), [code, null]);
      await assertGone(child.left);
    });
  }

  test('is swept up after kill -9 by the next one, which spares those of living programs', async () => {
    const [killed, living] = [await startChild(), await startChild()];
    try {
      killed.process.kill('SIGKILL');
      await withinMs('end of the child', 20_000, killed.ended);
      const own = await Lab.create();
      await assertGone(killed.left);
      assert.ok(living.left.namespaces.every((name) => namespaces().includes(name)));
      assert.ok(living.left.pids.every(isRunning));
      assert.ok(living.left.directories.every(existsSync));
      await own[Symbol.asyncDispose]();
    } finally {
      living.process.kill('SIGTERM');
      await living.ended;
    }
    await assertGone(living.left);
  });

  test('takes only names that it gives itself for left-overs', () => {
    for (const foreign of ['buri', 'buri-lab', 'buri-999999', 'buri0', 'other-999999-1-0-x']) {
      assert.equal(isAbandoned(foreign), false, foreign);
    }
    assert.equal(isAbandoned(`${ownPrefix}-0-host`), false, 'its own');
    assert.equal(isAbandoned(`buri-${process.pid}-0-0-host`), true, 'the number was given again');
  });

  test('has no link to the machine that it runs on', async () => {
    await using lab = await Lab.create();
    const before = await execChecked('ip', ['-j', 'link']);
    const host = await Host.create(lab, 'host');
    const devices = JSON.parse(await host.check('ip', ['-j', 'link']));
    assert.deepEqual(
      devices.map(({ ifname }: { ifname: string }) => ifname),
      ['lo'],
    );
    assert.equal(await host.check('ip', ['route']), '');
    assert.equal(await execChecked('ip', ['-j', 'link']), before);
  });
});

describe('a program in the laboratory', { skip }, () => {
  test('that fails is quoted in the failure', async () => {
    await using lab = await Lab.create();
    const host = await Host.create(lab, 'host');
    const failing = host.spawn('sh', ['-c', 'echo no such door >&2; exit 7'], { name: 'opener' });
    await assert.rejects(
      failing.line(/open/),
      /opener ended before(.|\n)*code 7(.|\n)*no such door/,
    );
    const silent = host.spawn('sleep', ['100'], { name: 'sleeper' });
    await assert.rejects(
      silent.line(/morning/, { timeoutMs: 100 }),
      /sleeper to print \/morning\//,
    );
    const missing = host.spawn('no-such-program', []);
    assert.notEqual(await missing.ended, 0);
    await waitFor('the reason', () => /no-such-program/.test(missing.lines.join()));
  });

  test('leaves only its last lines when it says too much', async () => {
    await using lab = await Lab.create();
    const host = await Host.create(lab, 'host');
    const chatty = host.spawn('seq', ['1', '10000']);
    await chatty.line(/^10000$/);
    assert.equal(chatty.lines.length, 2_000);
    assert.match(chatty.tail, /9960 lines before/);
  });

  test('runs to its end in bounded time, its code and outputs apart', async () => {
    await using lab = await Lab.create();
    const host = await Host.create(lab, 'host');
    const result = await host.run('sh', ['-c', 'cat; echo err >&2; exit 3'], { input: 'in' });
    assert.deepEqual(result, { stdout: 'in', stderr: 'err\n', code: 3 });
    await assert.rejects(host.check('false'), /false: exit code 1/);
    await assert.rejects(host.run('sleep', ['100'], { timeoutMs: 100 }), /killed after 100 ms/);
    await waitFor('it to be gone', async () => (await processesIn(host.namespace)).length === 0);
  });

  test('inherits no open file of the laboratory', async () => {
    await using lab = await Lab.create();
    const host = await Host.create(lab, 'host');
    // Descriptor 200 of a shell that starts the laboratory stands for somebody's lock.
    const lock = join(lab.temporaryDirectory('lock'), 'lock');
    const script = 'exec 200>"$1"; exec "$2" --disable-warning=ExperimentalWarning "$3" "$4"';
    const args = ['-c', script, 'bash', lock, pinnedNode, inheritProgram, host.namespace];
    const [started, ran] = (await execChecked('bash', args)).trim().split('\n');
    for (const files of [started, ran]) {
      assert.match(`${files}`, /socket|pipe/);
      assert.doesNotMatch(`${files}`, /lock/);
    }
  });
});

describe('waiting', () => {
  test('returns the first truthy value', async () => {
    let n = 0;
    const value = await waitFor('three', async () => ++n >= 3 && { n }, { intervalMs: 1 });
    assert.deepEqual(value, { n: 3 });
  });

  test('takes a thrown error for not yet', async () => {
    let n = 0;
    const value = await waitFor(
      'no error',
      () => {
        assert.ok(++n > 2, 'too early');
        return 'done';
      },
      { intervalMs: 1 },
    );
    assert.equal(value, 'done');
  });

  test('fails with the description, the time and what was seen last', async () => {
    const options = { timeoutMs: 30, intervalMs: 5 };
    await assert.rejects(
      waitFor('a miracle', () => 0, options),
      /waited 0\.\d s in vain for a miracle; last seen: 0/,
    );
    const broken = waitFor('a cure', () => assert.fail('still ill'), options);
    await assert.rejects(broken, /a cure; last seen: still ill/);
    const hanging = waitFor('an answer', () => new Promise<true>(() => {}), options);
    await assert.rejects(hanging, /an answer; last seen: 'never evaluated/);
  });

  test('ends with the reason of its signal', async () => {
    const controller = new AbortController();
    const waiting = waitFor('for ever', () => false, { signal: controller.signal });
    controller.abort(new Error('no longer wanted'));
    await assert.rejects(waiting, /no longer wanted/);
  });
});

interface Traces {
  readonly namespaces: string[];
  readonly directories: string[];
  readonly pids: number[];
}

async function populate(lab: Lab): Promise<Traces> {
  const [one, two] = [await Host.create(lab, 'one'), await Host.create(lab, 'two')];
  const programs = [one.spawn('sleep', ['1000']), two.spawn('sleep', ['1000'])];
  const directory = lab.temporaryDirectory('state');
  const pids = programs.map(({ pid }) => Number(pid));
  assert.ok(pids.every(isRunning));
  return { namespaces: [one.namespace, two.namespace], directories: [directory], pids };
}

async function assertGone({ namespaces: names, directories, pids }: Traces): Promise<void> {
  const present = namespaces();
  assert.deepEqual(
    names.filter((name) => present.includes(name)),
    [],
  );
  // A kill takes effect a moment after it is sent.
  await waitFor('the processes to be gone', () => !pids.some(isRunning));
  assert.deepEqual(directories.filter(existsSync), []);
}

const inheritProgram = fileURLToPath(new URL('fixtures/list-files.ts', import.meta.url));
const childProgram = fileURLToPath(new URL('fixtures/open-lab.ts', import.meta.url));

/** Another process that opens a laboratory, fills it and waits. */
async function startChild() {
  const child = spawn(pinnedNode, ['--disable-warning=ExperimentalWarning', childProgram], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: environment(),
  });
  const ended = new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
    child.on('exit', (code, signal) => resolve([code, signal]));
  });
  const lines = createInterface({ input: child.stdout });
  const first = new Promise<string>((resolve) => lines.once('line', resolve));
  const failed = ended.then(([code]) => assert.fail(`the child ended with ${code} at once`));
  failed.catch(() => {});
  const left: Traces = JSON.parse(await Promise.race([first, failed]));
  assert.ok(left.directories.every((path) => path.startsWith(tmpdir())));
  return { process: child, ended, left };
}
