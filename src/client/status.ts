import type { Engine } from '#engine/engine.ts';
import { formatEndpoint } from '#wire/endpoint.ts';
import type { StatusView } from '#wire/local-api.ts';
import type { Client } from './client.ts';
import type { SystemClock } from './clock.ts';
import type { Device } from './device.ts';
import type { Notices } from './notices.ts';
import { portMappingView } from './port-mapping-view.ts';
import type { ProxyChoice } from './proxy.ts';
import { relayViews } from './relay-view.ts';
import type { Sockets } from './sockets.ts';
import type { StateStore } from './state.ts';
import { version } from './version.ts';

/** Everything that the status is made of. */
export interface StatusSource {
  readonly client: Client;
  readonly store: StateStore;
  readonly engine: Engine;
  readonly device: Device;
  readonly sockets: Sockets;
  readonly clock: SystemClock;
  readonly notices: Notices;
  readonly proxies: ProxyChoice;
}

export function statusOf(source: StatusSource): StatusView {
  const { client, store, engine, device, sockets, notices, proxies } = source;
  const { settings } = store;
  const { state } = client.link;
  const member = client.member;
  const discovered = member?.discovered;
  return {
    version,
    pid: process.pid,
    state: state.kind === 'stopped' ? 'offline' : member?.isSynchronised ? 'online' : 'connecting',
    clientId: settings.self?.clientId ?? null,
    nick: settings.nick,
    ipv4: settings.self?.ipv4 ?? null,
    ipv6: settings.self?.ipv6 ?? null,
    device: device.info?.name ?? null,
    mode: device.mode,
    offloads: device.info?.offloads ?? [],
    port: sockets.port,
    lanRoutes: device.lanRoutes,
    server: {
      url: settings.server?.url ?? null,
      connected: state.kind === 'connected',
      ...(proxies.text === undefined ? {} : { proxy: proxies.text }),
      ...errorOf(state),
    },
    nat: {
      mapping: discovered?.nat.mapping ?? 'unknown',
      filtering: discovered?.nat.filtering ?? 'unknown',
      publicEndpoints: discovered?.publicEndpoints.map(formatEndpoint) ?? [],
    },
    portMapping: portMappingView(client.portMapping, discovered?.publicEndpoints ?? []),
    relays: relayViews(member?.relays).filter(({ held }) => held),
    notices: notices.list(),
    counters: { ...engine.counters(), ...member?.counters(), ...client.bridges?.counters() },
  };
}

function errorOf(state: Client['link']['state']): Partial<StatusView['server']> {
  if (state.kind !== 'waiting' && state.kind !== 'connecting') return {};
  const { error } = state;
  if (error === undefined) return {};
  const { code, message } = error;
  return {
    error: { code, message },
    ...(state.kind === 'waiting'
      ? { retryInMs: Math.max(0, Math.round(state.retryAt - performance.now())) }
      : {}),
  };
}
