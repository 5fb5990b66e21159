import type { EngineEvents } from '#engine/engine.ts';

/** For engines whose events do not matter, or few of them. */
export const silentEvents: EngineEvents = {
  onDatagram() {},
  onWantSession() {},
  onActivity() {},
  onRoam() {},
  onConfirmed() {},
  onRekeyLimit() {},
  onGroupsChanged() {},
  onMessage() {},
  onDeviceLost() {},
};
