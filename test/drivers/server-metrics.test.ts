/** Health, readiness and metrics: off unless wanted, and never where clients are. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ControlClient, DeviceKeys } from '../support/control-client.ts';
import { freePort } from '../support/postgres.ts';
import { ServerProcess } from '../support/server-process.ts';

test('health, readiness and metrics have a listener of their own', async () => {
  const port = await freePort();
  await using server = await ServerProcess.start({
    args: ['--enrol', 'open', '--metrics', `127.0.0.1:${port}`],
  });
  const get = async (path: string, method = 'GET') => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method });
    return { status: response.status, text: await response.text() };
  };
  await using anna = await ControlClient.login({ url: server.url, keys: new DeviceKeys('anna') });
  await anna.create('lan');
  assert.deepEqual(await get('/healthz'), { status: 200, text: 'ok\n' });
  assert.deepEqual(await get('/readyz'), { status: 200, text: 'ready\n' });
  const { text } = await get('/metrics');
  assert.match(text, /^buri_clients_online 1$/m);
  assert.match(text, /^buri_logins_total\{outcome="granted"\} 1$/m);
  assert.match(text, /^buri_message_seconds_count\{outcome="done"\} [1-9]/m);
  assert.match(text, /^buri_ready 1$/m);
  assert.match(text, /^process_resident_memory_bytes /m);
  assert.ok(!text.includes('anna'), 'no client is named');
  assert.equal((await get('/')).status, 404);
  assert.equal((await get('/metrics', 'POST')).status, 405);
  const clientSide = server.url.replace(/^buri:/, 'http:').replace(/#.*/, '');
  assert.equal((await fetch(`${clientSide}/metrics`)).status, 426);
});
