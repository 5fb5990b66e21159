// Loaded into a program under observation by NODE_OPTIONS=--import: says now and then, on standard error, how large its heap is.
import { isMainThread } from 'node:worker_threads';

const intervalMs = 10_000;

if (isMainThread) {
  setInterval(() => {
    const { heapUsed, external, arrayBuffers } = process.memoryUsage();
    process.stderr.write(`heap ${heapUsed} ${external} ${arrayBuffers}\n`);
  }, intervalMs).unref();
}
