// The fuzz targets of native/fuzz, and how they are compiled.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './setup.mjs';

const core = ['engine', 'transport', 'aesgcm', 'inner', 'segment', 'fit', 'frame', 'relay'];
const packets = [...core, 'classify', 'coalesce', 'checksum', 'device', 'socket'];

/** A target: its sources beside fuzz_TARGET.c, the longest inputs, whether there is a twin to compare with, and what it needs. */
export const targets = {
  outbound: { sources: packets, maxLength: 4096, hasTwin: true },
  inbound: { sources: packets, maxLength: 4096, hasTwin: true },
  relay: { sources: packets, maxLength: 4096, hasTwin: true },
  device: { sources: packets, maxLength: 2048, hasTwin: false },
  aesgcm: { sources: ['aesgcm'], maxLength: 4096, hasTwin: false, needs: vaes },
};

/** How everything is compiled. */
export const flags = ['-std=gnu11', '-g', '-Wall', '-Wextra', '-fno-omit-frame-pointer'];

/** In Node these functions are the process's own; here they come from the system's library. */
export const library = '-l:libcrypto.so.3';

export const sourcePath = (name) => join(root, 'native', `${name}.c`);

/** Why a target cannot run here; undefined when it can. */
export function obstacle(name) {
  return targets[name].needs?.();
}

function vaes() {
  const flags = existsSync('/proc/cpuinfo') ? readFileSync('/proc/cpuinfo', 'utf8') : '';
  const has = (flag) => new RegExp(` ${flag}( |$)`, 'm').test(flags);
  return has('vaes') && has('vpclmulqdq') ? undefined : 'this processor has no VAES and VPCLMULQDQ';
}
