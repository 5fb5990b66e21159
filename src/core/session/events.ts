import type { AeadSuite } from '#core/crypto.ts';
import type { Path } from '#core/path/path.ts';
import type { TransportKeys } from './keypair.ts';

/** A pre-shared key that may be right, and the suite of transport messages that it stands for. */
export interface PskCandidate {
  readonly psk: Uint8Array;
  readonly suite: AeadSuite;
}

export const maximumPskCandidates = 4;

export interface PeerSettings {
  /**
   * 1 to 4, the most likely first: it is what we answer with. A response to our own initiation is tried with each. None:
   * no handshake is made or answered.
   */
  readonly pskCandidates: readonly PskCandidate[];
  /** Whether the peer's packets have somewhere to go. Without it a wish for a session waits. */
  readonly pathAvailable: boolean;
  /** Sends something at least this often while there is a session; 0 for never. */
  readonly persistentKeepaliveMs: number;
}

/** Traffic under one key since the last report, as the engine tells it. */
export interface SessionActivity {
  readonly peer: number;
  readonly localIndex: number;
  readonly sentData: boolean;
  readonly sentKeepalive: boolean;
  readonly receivedData: boolean;
  readonly receivedKeepalive: boolean;
}

export type HandshakeDatagram = 'handshake-initiation' | 'handshake-response' | 'cookie-reply';

/** What happens to `Tunnels`. Inputs about a peer that is not known are ignored: reports cross with removals. */
export type SessionInput =
  | ({ readonly kind: 'add-peer'; readonly peer: number; readonly publicKey: Uint8Array } & Partial<
      Omit<PeerSettings, 'pskCandidates'>
    > &
      Pick<PeerSettings, 'pskCandidates'>)
  /** `pathAvailable` again: its packets go another way now. */
  | ({ readonly kind: 'update-peer'; readonly peer: number } & Partial<PeerSettings>)
  | { readonly kind: 'remove-peer'; readonly peer: number }
  /** Packets wait for keys. */
  | { readonly kind: 'want-session'; readonly peer: number }
  /** New keys although the old ones are good: the pre-shared key changed. */
  | { readonly kind: 'rekey'; readonly peer: number }
  | {
      readonly kind: 'datagram';
      readonly datagram: HandshakeDatagram;
      readonly bytes: Uint8Array;
      readonly from: Path;
    }
  | { readonly kind: 'activity'; readonly activity: SessionActivity }
  /** The first packet under these keys authenticated. */
  | { readonly kind: 'confirmed'; readonly peer: number; readonly localIndex: number }
  /** So many messages were sent under these keys that they must be replaced. */
  | { readonly kind: 'rekey-limit'; readonly peer: number; readonly localIndex: number }
  /** Time passed. */
  | { readonly kind: 'tick' };

/** What `Tunnels` wants done, in this order. */
export type SessionOutput =
  | {
      readonly kind: 'send-datagram';
      readonly peer: number | undefined;
      readonly bytes: Uint8Array;
      readonly to: Path | 'current-path';
    }
  /** A handshake message of the peer authenticated that came from there: its path may have changed. */
  | { readonly kind: 'heard'; readonly peer: number; readonly from: Path }
  | { readonly kind: 'install-keys'; readonly keys: TransportKeys }
  | { readonly kind: 'activate-keys'; readonly peer: number; readonly localIndex: number }
  | { readonly kind: 'remove-keys'; readonly peer: number; readonly localIndex: number }
  | { readonly kind: 'send-keepalive'; readonly peer: number }
  | {
      readonly kind: 'session-up';
      readonly peer: number;
      readonly role: 'initiator' | 'responder';
      readonly localIndex: number;
      readonly suite: AeadSuite;
      /** Which candidate fitted. */
      readonly pskIndex: number;
      /** Replaces a session that was good. */
      readonly isRekey: boolean;
    }
  | {
      readonly kind: 'session-down';
      readonly peer: number;
      readonly reason: 'expired' | 'removed';
    }
  | {
      readonly kind: 'handshake-failed';
      readonly peer: number;
      readonly reason: HandshakeFailure;
    }
  /** To be on disk before the next restart: the constructor takes the last one. */
  | { readonly kind: 'persist-timestamp'; readonly timestamp: Uint8Array };

/**
 * no-answer: nothing valid came back for 90 s. psk-mismatch: a response opened with none of the candidates; the handshake goes
 * on. bad-key: the public key is a low-order point, our own, or another peer's; the peer was not added.
 */
export type HandshakeFailure = 'no-answer' | 'psk-mismatch' | 'bad-key';

/** Why a handshake message had no effect; each is a counter as well. */
export const sessionDrops = [
  'drop-malformed',
  'drop-mac1',
  'drop-mac2',
  'drop-source-rate',
  'drop-forged',
  'drop-unknown-peer',
  'drop-unknown-index',
  'drop-replayed',
  'drop-peer-rate',
  'drop-no-psk',
  'drop-psk-mismatch',
  'drop-cookie',
] as const;

export type SessionDrop = (typeof sessionDrops)[number];

/** Names are stable: metrics show them. */
export const sessionCounterNames = [
  'initiations-sent',
  'initiations-received',
  'responses-sent',
  'responses-received',
  'cookies-sent',
  'cookies-received',
  'sessions',
  'no-answer',
  ...sessionDrops,
] as const;

export type SessionCounterName = (typeof sessionCounterNames)[number];
