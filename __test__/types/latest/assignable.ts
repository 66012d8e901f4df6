// The whole module, both ways: as the newest @types/node describes it. Nothing here runs: it compiles, or lint fails.

type Corral = typeof import('corral');
type Node = typeof import('node:cluster');

export const corralForNode = (corral: Corral): Node => corral;
export const nodeForCorral = (node: Node): Corral => node;
