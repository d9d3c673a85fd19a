"""Language workloads: text, tokenizer, decoder, training and checkpoint of each."""
