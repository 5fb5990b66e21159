/** SIGHUP, of programs that run for long: certificates are renewed more often than these are restarted. */
import type { Log } from '#server/log.ts';

export function onHangUp(reloadTls: () => void, log: Log): void {
  process.on('SIGHUP', () => {
    try {
      reloadTls();
    } catch (error) {
      log.error({ err: error }, 'the TLS files were not taken over');
    }
  });
}
