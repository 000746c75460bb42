// What the machine's memory holds, and which tokens the last answer attended to.

import { $ } from './dom.js';

export function forget() { $('memory').replaceChildren(); }
export function reach() {}
export async function refresh() {}
