// Loaded into a program under observation by NODE_OPTIONS=--import: says now and then, on standard error, how many bytes of its heap
// are in use after everything has been collected.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { isMainThread } from 'node:worker_threads';

// Seldom: the program is to live with its collector as it always does.
const intervalMs = 60_000;

if (isMainThread) {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc');
  const report = () => {
    collect();
    process.stderr.write(`heap ${process.memoryUsage().heapUsed}\n`);
  };
  setInterval(report, intervalMs).unref();
}
