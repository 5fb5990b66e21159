/** The little XML that gateways speak, as a tree; bounded, without entities of its own and without document types. */
import { SaxesParser } from 'saxes';

export interface XmlElement {
  /** Without namespace prefix: gateways invent their own. */
  readonly name: string;
  readonly text: string;
  readonly children: readonly XmlElement[];
}

const maxDepth = 24;
const maxElements = 4096;

type Draft = { name: string; text: string; children: Draft[] };

/**
 * The root element; undefined when there is none, or when a bound is crossed or a document type stands in it. What a gateway gets
 * wrong otherwise (a bare `&` in a URL, a prefix that nothing declares) is put up with, as every UPnP client has to.
 */
export function parseXml(text: string): XmlElement | undefined {
  const parser = new SaxesParser({ xmlns: false, position: false });
  const open: Draft[] = [];
  let root: Draft | undefined;
  let count = 0;
  let refused = false;
  parser.on('error', () => {});
  parser.on('doctype', () => {
    refused = true;
  });
  parser.on('opentag', ({ name }) => {
    count += 1;
    refused ||= count > maxElements || open.length >= maxDepth;
    if (refused) return;
    const element: Draft = { name: name.slice(name.indexOf(':') + 1), text: '', children: [] };
    open.at(-1)?.children.push(element);
    root ??= element;
    open.push(element);
  });
  const addText = (more: string) => {
    const element = open.at(-1);
    if (element !== undefined) element.text += more;
  };
  parser.on('text', addText);
  parser.on('cdata', addText);
  parser.on('closetag', () => void open.pop());
  try {
    parser.write(mended(text)).close();
  } catch {
    return undefined;
  }
  return refused || open.length > 0 ? undefined : root;
}

/** Without what stands before the XML declaration, and with the `&` of URLs that were written as they are. */
const mended = (text: string) =>
  text.replace(/^\uFEFF?\s+/, '').replace(/&(?!#?[0-9A-Za-z]{1,8};)/g, '&amp;');

/** All elements of a name below and including this one, in the order of the document. */
export function elementsNamed(element: XmlElement, name: string): XmlElement[] {
  const own = element.name === name ? [element] : [];
  return [...own, ...element.children.flatMap((child) => elementsNamed(child, name))];
}

/** Text of the first child of that name, trimmed. */
export const childText = (element: XmlElement, name: string): string | undefined =>
  element.children.find((child) => child.name === name)?.text.trim();

export const escapeXml = (text: string): string =>
  text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
