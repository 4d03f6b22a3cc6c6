"""Images to train on and to reconstruct: phantoms, samples that ship with packages, folders."""
