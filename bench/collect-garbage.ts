/** To be preloaded with `--expose-gc`: what is resident is then what is in use. */
const EVERY_MS = 2_000;

setInterval(() => globalThis.gc?.(), EVERY_MS).unref();
