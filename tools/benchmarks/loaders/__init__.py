"""What a user writes to train from the same clips with each library: `batches` gives float tensors of B × C × T × H × W
for one epoch. Each file is as short as its library lets it be; `pixels` is shared by those that crop nothing."""
