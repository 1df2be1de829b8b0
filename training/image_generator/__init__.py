"""The kind image_generator: images of a class that is asked for, from a conditional generative adversarial net."""
