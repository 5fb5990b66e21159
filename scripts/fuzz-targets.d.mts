export type TargetName = 'outbound' | 'inbound' | 'relay' | 'device' | 'aesgcm';
export interface Target {
  readonly sources: readonly string[];
  readonly maxLength: number;
  readonly hasTwin: boolean;
}
export const targets: Readonly<Record<TargetName, Target>>;
export const flags: readonly string[];
export const library: string;
export function sourcePath(name: string): string;
export function obstacle(name: TargetName): string | undefined;
